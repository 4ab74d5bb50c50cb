CREATE TABLE audit_events (
    site_id BIGINT NOT NULL,
    id BIGINT NOT NULL,
    action TEXT COLLATE "C" NOT NULL,
    resource_id BIGINT NOT NULL,
    key_id BIGINT NOT NULL,
    user_id BIGINT NOT NULL,
    occurred_at TEXT COLLATE "C" NOT NULL,
    PRIMARY KEY (site_id, id)
);

CREATE INDEX audit_events_by_resource ON audit_events (site_id, resource_id, id);

CREATE TABLE id_leases (
    kind TEXT COLLATE "C" NOT NULL,
    next_id BIGINT NOT NULL,
    PRIMARY KEY (kind)
);

CREATE TABLE sites (
    id BIGINT NOT NULL,
    title TEXT COLLATE "C" NOT NULL,
    title_key TEXT COLLATE "C" NOT NULL,
    subdomain TEXT COLLATE "C" NOT NULL,
    created_at TEXT COLLATE "C" NOT NULL,
    updated_at TEXT COLLATE "C" NOT NULL,
    PRIMARY KEY (id),
    UNIQUE (subdomain)
);

CREATE TABLE users (
    id BIGINT NOT NULL,
    name TEXT COLLATE "C" NOT NULL,
    email TEXT COLLATE "C" NOT NULL,
    role_level TEXT COLLATE "C" NOT NULL,
    password_hash TEXT COLLATE "C",
    created_at TEXT COLLATE "C" NOT NULL,
    PRIMARY KEY (id)
);

CREATE TABLE contact_counts (
    site_id BIGINT NOT NULL,
    contacts BIGINT NOT NULL,
    subscribed BIGINT NOT NULL,
    never_subscribed BIGINT NOT NULL,
    PRIMARY KEY (site_id),
    FOREIGN KEY(site_id) REFERENCES sites (id)
);

CREATE TABLE contact_tags (
    site_id BIGINT NOT NULL,
    id BIGINT NOT NULL,
    name TEXT COLLATE "C" NOT NULL,
    name_key TEXT COLLATE "C" NOT NULL,
    unique_name TEXT COLLATE "C" NOT NULL,
    archived BIGINT NOT NULL,
    contacts BIGINT NOT NULL,
    created_at TEXT COLLATE "C" NOT NULL,
    updated_at TEXT COLLATE "C" NOT NULL,
    PRIMARY KEY (site_id, id),
    CONSTRAINT contact_tags_name_once_in_a_site UNIQUE (site_id, unique_name),
    FOREIGN KEY(site_id) REFERENCES sites (id)
);

CREATE INDEX contact_tags_by_name ON contact_tags (site_id, name_key, id);

CREATE TABLE contact_tombstones (
    site_id BIGINT NOT NULL,
    id BIGINT NOT NULL,
    survivor_id BIGINT,
    scrubbed BIGINT NOT NULL,
    created_at TEXT COLLATE "C" NOT NULL,
    PRIMARY KEY (site_id, id),
    FOREIGN KEY(site_id) REFERENCES sites (id)
);

CREATE INDEX contact_tombstones_by_survivor ON contact_tombstones (site_id, survivor_id);

CREATE TABLE contacts (
    site_id BIGINT NOT NULL,
    id BIGINT NOT NULL,
    name TEXT COLLATE "C" NOT NULL,
    email TEXT COLLATE "C" NOT NULL,
    address_line_1 TEXT COLLATE "C",
    address_line_2 TEXT COLLATE "C",
    address_city TEXT COLLATE "C",
    address_country TEXT COLLATE "C",
    address_state TEXT COLLATE "C",
    address_zip TEXT COLLATE "C",
    phone_number TEXT COLLATE "C",
    business_number TEXT COLLATE "C",
    mobile_phone_number TEXT COLLATE "C",
    subscription BIGINT NOT NULL,
    external_user_id TEXT COLLATE "C",
    custom TEXT COLLATE "C" NOT NULL,
    created_at TEXT COLLATE "C" NOT NULL,
    updated_at TEXT COLLATE "C" NOT NULL,
    name_key TEXT COLLATE "C" NOT NULL,
    email_key TEXT COLLATE "C" NOT NULL,
    search_keys TEXT COLLATE "C",
    tag_ids TEXT COLLATE "C",
    PRIMARY KEY (site_id, id),
    CONSTRAINT contacts_email_once_in_a_site UNIQUE (site_id, email_key),
    FOREIGN KEY(site_id) REFERENCES sites (id)
);

CREATE INDEX contacts_by_age ON contacts (site_id, created_at DESC, id);

CREATE INDEX contacts_by_name ON contacts (site_id, name_key, id);

CREATE INDEX contacts_by_subscription ON contacts (site_id, subscription, created_at DESC, id);

CREATE UNIQUE INDEX contacts_external_user_id_once_in_a_site ON contacts (site_id, md5(external_user_id)) WHERE external_user_id IS NOT NULL;

CREATE TABLE custom_fields (
    site_id BIGINT NOT NULL,
    id BIGINT NOT NULL,
    title TEXT COLLATE "C" NOT NULL,
    title_key TEXT COLLATE "C" NOT NULL,
    number BIGINT NOT NULL,
    type TEXT COLLATE "C" NOT NULL,
    required BIGINT NOT NULL,
    archived BIGINT NOT NULL,
    created_at TEXT COLLATE "C" NOT NULL,
    updated_at TEXT COLLATE "C" NOT NULL,
    PRIMARY KEY (site_id, id),
    CONSTRAINT custom_fields_handle_once_in_a_site UNIQUE (site_id, number),
    FOREIGN KEY(site_id) REFERENCES sites (id)
);

CREATE TABLE keys (
    id BIGINT NOT NULL,
    user_id BIGINT NOT NULL,
    name TEXT COLLATE "C" NOT NULL,
    client_id TEXT COLLATE "C" NOT NULL,
    secret_hash TEXT COLLATE "C" NOT NULL,
    all_sites BIGINT NOT NULL,
    permissions TEXT COLLATE "C" NOT NULL,
    created_at TEXT COLLATE "C" NOT NULL,
    PRIMARY KEY (id),
    FOREIGN KEY(user_id) REFERENCES users (id),
    UNIQUE (client_id)
);

CREATE TABLE consent_events (
    site_id BIGINT NOT NULL,
    id BIGINT NOT NULL,
    contact_id BIGINT NOT NULL,
    event TEXT COLLATE "C" NOT NULL,
    cause TEXT COLLATE "C" NOT NULL,
    source TEXT COLLATE "C" NOT NULL,
    wording TEXT COLLATE "C",
    ip_address TEXT COLLATE "C",
    key_id BIGINT NOT NULL,
    user_id BIGINT NOT NULL,
    occurred_at TEXT COLLATE "C" NOT NULL,
    PRIMARY KEY (site_id, id),
    FOREIGN KEY(site_id, contact_id) REFERENCES contacts (site_id, id),
    CONSTRAINT consent_events_event CHECK (event IN ('subscribed', 'unsubscribed'))
);

CREATE INDEX consent_events_by_contact ON consent_events (site_id, contact_id, occurred_at, id);

CREATE INDEX consent_events_by_time ON consent_events (site_id, event, occurred_at, contact_id, cause);

CREATE TABLE contact_notes (
    site_id BIGINT NOT NULL,
    id BIGINT NOT NULL,
    contact_id BIGINT NOT NULL,
    body TEXT COLLATE "C" NOT NULL,
    created_at TEXT COLLATE "C" NOT NULL,
    updated_at TEXT COLLATE "C" NOT NULL,
    PRIMARY KEY (site_id, id),
    FOREIGN KEY(site_id, contact_id) REFERENCES contacts (site_id, id)
);

CREATE INDEX contact_notes_by_age ON contact_notes (site_id, created_at DESC, id);

CREATE INDEX contact_notes_by_change ON contact_notes (site_id, updated_at, id);

CREATE INDEX contact_notes_by_contact ON contact_notes (site_id, contact_id, created_at DESC, id);

CREATE TABLE contact_taggings (
    site_id BIGINT NOT NULL,
    contact_id BIGINT NOT NULL,
    tag_id BIGINT NOT NULL,
    contact_created_at TEXT COLLATE "C" NOT NULL,
    PRIMARY KEY (site_id, contact_id, tag_id),
    FOREIGN KEY(site_id, contact_id) REFERENCES contacts (site_id, id),
    FOREIGN KEY(site_id, tag_id) REFERENCES contact_tags (site_id, id)
);

CREATE INDEX contact_taggings_by_tag ON contact_taggings (site_id, tag_id, contact_created_at DESC, contact_id);

CREATE TABLE kept_answers (
    key_id BIGINT NOT NULL,
    idempotency_key TEXT COLLATE "C" NOT NULL,
    request_hash TEXT COLLATE "C" NOT NULL,
    status BIGINT NOT NULL,
    headers TEXT COLLATE "C" NOT NULL,
    body TEXT COLLATE "C" NOT NULL,
    created_at TEXT COLLATE "C" NOT NULL,
    PRIMARY KEY (key_id, idempotency_key),
    FOREIGN KEY(key_id) REFERENCES keys (id) ON DELETE CASCADE
);

CREATE INDEX kept_answers_by_age ON kept_answers (key_id, created_at);

CREATE TABLE key_sites (
    site_id BIGINT NOT NULL,
    key_id BIGINT NOT NULL,
    PRIMARY KEY (site_id, key_id),
    FOREIGN KEY(site_id) REFERENCES sites (id),
    FOREIGN KEY(key_id) REFERENCES keys (id) ON DELETE CASCADE
);

CREATE INDEX key_sites_by_key ON key_sites (key_id);

CREATE TABLE search_backlog (
    site_id BIGINT NOT NULL,
    contact_id BIGINT NOT NULL,
    PRIMARY KEY (site_id, contact_id),
    FOREIGN KEY(site_id, contact_id) REFERENCES contacts (site_id, id)
);

CREATE TABLE tokens (
    access_hash TEXT COLLATE "C" NOT NULL,
    refresh_hash TEXT COLLATE "C",
    key_id BIGINT NOT NULL,
    access_expires_at TEXT COLLATE "C" NOT NULL,
    refresh_expires_at TEXT COLLATE "C" NOT NULL,
    PRIMARY KEY (access_hash),
    UNIQUE (refresh_hash),
    FOREIGN KEY(key_id) REFERENCES keys (id) ON DELETE CASCADE
);

CREATE INDEX tokens_by_key ON tokens (key_id, refresh_expires_at);

CREATE TABLE contact_search (site_id bigint NOT NULL, contact_id bigint NOT NULL, grams tsvector NOT NULL, PRIMARY KEY (site_id, contact_id));

CREATE INDEX contact_search_by_gram ON contact_search USING gin (grams) WITH (gin_pending_list_limit = 64);

CREATE TABLE remembered_changes (
    id BIGINT NOT NULL,
    number BIGINT NOT NULL,
    PRIMARY KEY (id)
);

CREATE TABLE writers (
    id TEXT COLLATE "C" NOT NULL,
    last_write BIGINT NOT NULL,
    wrote_at TIMESTAMP WITH TIME ZONE NOT NULL,
    PRIMARY KEY (id)
);

INSERT INTO remembered_changes (id, number) VALUES (1, 1);

INSERT INTO id_leases (kind, next_id) VALUES
    ('sites', 2147000001),
    ('users', 2300000001),
    ('keys', 2300500001),
    ('contacts', 2301000001),
    ('consent_events', 2600000000001),
    ('audit_events', 2700000000001),
    ('contact_tags', 2150000001),
    ('contact_notes', 2303000001),
    ('custom_fields', 2304000001);
