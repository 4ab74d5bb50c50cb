"""What the tests of filters share: asking for contacts in every way there is, and the names of all filters."""

from urllib.parse import quote

from support import Client

# The 73 of contract 7.2, in its order.
AUDIENCE = (
    "site_id", "search", "created_in_last", "not_created_in_last", "is_hidden", "joined_in_last",
    "active_in_last", "inactive_in_last", "name_contains", "email_contains", "phone_number_contains",
    "mobile_phone_number_contains", "address_line_1_contains", "address_line_2_contains",
    "address_city_contains", "address_state_contains", "address_country_contains", "address_zip_contains",
    "has_tag_id", "has_all_tag_id", "has_no_tag_id", "subscribed", "has_offer_id", "has_no_offer_id",
    "has_product_id", "has_active_product_id", "has_no_product_id", "previously_owned_product_id",
    "submitted_form_id", "no_submitted_form_id", "net_revenue_equal_to", "net_revenue_greater_than",
    "net_revenue_less_than", "subscribed_in_last", "unsubscribed_in_last", "never_subscribed",
    "manually_unsubscribed_in_last", "opted_out_in_last",
    # Class X begins here.
    "used_coupon_code", "registered_event_id", "not_registered_event_id", "completed_assessment_id",
    "passed_assessment_id", "failed_assessment_id", "sent_email_broadcast_id", "no_sent_email_broadcast_id",
    "no_sent_email_broadcast_ids", "no_delivered_email_broadcast_id", "opened_email_broadcast_id",
    "clicked_email_broadcast_id", "bounced_email_broadcast_id", "dropped_email_broadcast_id",
    "no_opened_email_broadcast_id", "no_clicked_email_broadcast_id", "no_bounced_email_broadcast_id",
    "no_dropped_email_broadcast_id", "opened_email_in_last", "not_opened_email_in_last",
    "delivered_email_in_last", "not_delivered_email_in_last", "clicked_email_in_last",
    "not_clicked_email_in_last", "is_hard_bouncing", "bounced_in_last", "complained_in_last",
    "healthy_contacts_with_open_data", "passive_contacts_with_open_data",
    "unengaged_contacts_with_open_data", "inactive_contacts_with_open_data", "subscribed_newsletter_id",
    "unsubscribed_newsletter_id", "subscribed_email_sequence_id", "not_subscribed_email_sequence_id",
)  # fmt: skip
UNSUPPORTED = AUDIENCE[AUDIENCE.index("used_coupon_code") :]


def asked(**filters: str) -> str:
    """Return the query that asks for these filters."""
    return "&".join(f"filter[{name}]={quote(value, safe='')}" for name, value in filters.items())


def found(client: Client, **filters: str) -> set[str]:
    """Return the names of the contacts that the filters leave.

    One page of all, a page of one, and all pages by cursor must agree: they are answered by different
    statements.
    """
    query = asked(**filters)
    whole = client.get(f"/v1/contacts?{query}&page[size]=1000").json
    names = [each["attributes"]["name"] for each in whole["data"]]
    assert len(set(names)) == len(names)
    first = client.get(f"/v1/contacts?{query}&page[size]=1").json
    assert [each["attributes"]["name"] for each in first["data"]] == names[:1]
    for page, size in ((whole, 1000), (first, 1)):
        pages = max(1, -(-len(names) // size))
        expected = {"total": len(names), "total_count": len(names), "total_pages": pages, "current_page": 1}
        assert page["meta"] == page["meta"] | expected
    by_cursor: list[str] = []
    path: str | None = f"/v1/contacts?{query}&page[size]=4&page[after]="
    while path:
        page = client.get(path.removeprefix(client.url)).json
        by_cursor += [each["attributes"]["name"] for each in page["data"]]
        path = page["links"].get("next")
    assert by_cursor == names
    by_name = client.get(f"/v1/contacts?{query}&page[size]=1000&sort=-name").json["data"]
    assert {each["attributes"]["name"] for each in by_name} == set(names)
    return set(names)
