"""What proves each part of the contract: its operations, parameters, filters, attributes, failures, habits of clients.

A proof is `file::function`, the file by the beginning of its name within tests/contract (or by its path within
tests), the function without `test_`. `test_proofs.py` holds the keys against the declarations, and the proofs
against the tests that there are; `make docs` writes docs/compatibility.md from them.
"""

from itertools import chain
from pathlib import Path

from rollbook.api.routes import PREFIX, all_routes
from rollbook.jsonapi.errors import Refusal
from rollbook.jsonapi.resource import AttributeFamily, ResourceType
from rollbook.register.catalogue import RESOURCES

HERE = Path(__file__).parent

Proofs = dict[str, tuple[str, ...]]

TYPES: tuple[ResourceType, ...] = tuple(each.type for each in RESOURCES.values() if not each.type.extension)

OPERATIONS: Proofs = {
    "POST /v1/contacts": (
        "1_create::the_request_of_the_contract_gives_the_answer_of_the_contract",
        "1_create::the_published_example_works_as_it_stands",
    ),
    "GET /v1/contacts": (
        "5_2::the_shape_is_the_same_in_lists_shows_creates_and_updates",
        "5_2::the_list_is_newest_first",
    ),
    "GET /v1/contacts/{id}": ("1_create::what_was_created_is_read_back_equal",),
    "PATCH /v1/contacts/{id}": (
        "5_2::an_update_changes_what_is_given_and_nothing_else",
        "5_2::null_clears_a_text_and_an_empty_string_is_stored_as_given",
    ),
    "DELETE /v1/contacts/{id}": (
        "5_2::a_delete_answers_an_empty_data_and_again_404",
        "5_2::notes_and_tag_links_go_with_the_contact",
    ),
    **dict.fromkeys(
        (f"{verb} /v1/contacts/{{id}}/relationships/tags" for verb in ("GET", "POST", "PATCH", "DELETE")),
        ("5_2::all_four_verbs_answer_the_complete_current_list",),
    ),
    "GET /v1/contact_tags": ("5_3::tags_are_paged_by_thirty",),
    "GET /v1/contact_tags/{id}": ("5_3::a_made_tag_is_answered_with_its_place_and_shown_and_listed_as_made",),
    "POST /v1/contact_tags": ("5_3::a_made_tag_is_answered_with_its_place_and_shown_and_listed_as_made",),
    "GET /v1/contact_notes": (
        "5_4::the_newest_note_comes_first_unless_sorted",
        "5_4::notes_are_paged_by_twenty",
    ),
    "POST /v1/contact_notes": ("5_4::a_made_note_is_answered_with_its_place_and_shown_and_listed_as_made",),
    "GET /v1/contact_notes/{id}": (
        "5_4::a_made_note_is_answered_with_its_place_and_shown_and_listed_as_made",
    ),
    "PATCH /v1/contact_notes/{id}": ("5_4::an_update_changes_the_body_alone",),
    "DELETE /v1/contact_notes/{id}": ("5_4::a_delete_answers_an_empty_data_and_again_404",),
    "GET /v1/custom_fields": ("5_5::a_field_is_shown_and_listed_as_it_was_defined",),
    "GET /v1/custom_fields/{id}": ("5_5::a_field_is_shown_and_listed_as_it_was_defined",),
    "GET /v1/sites": ("5_1::the_list_has_the_site_as_it_is_shown",),
    "GET /v1/sites/{id}": ("5_1::a_site_has_its_attributes_in_their_order_and_no_relationships",),
    "POST /v1/oauth/token": (
        "3_oauth::client_credentials_in_a_form_give_a_pair",
        "3_oauth::client_credentials_may_come_as_json_multipart_or_basic",
        "3_oauth::a_refresh_token_alone_gives_a_new_pair_and_is_used_up",
        "3_1::the_right_password_gives_a_pair_with_and_without_grant_type",
        "3_oauth::errors_are_flat_objects",
    ),
    "POST /oauth/token": ("9_tolerance::a_token_is_given_for_every_body_at_every_path",),
    "POST /v1/oauth/revoke": (
        "3_oauth::either_token_revokes_the_pair",
        "3_oauth::revoking_asks_for_a_token_in_header_and_body",
    ),
    "GET /v1/version": ("3_oauth::version_needs_no_token",),
    "GET /v1/me": ("3_oauth::me_shows_the_user_of_the_key",),
}

EXTENSIONS: Proofs = {
    "POST /v1/contacts/upsert": (
        "extensions/test_upsert.py::a_contact_with_the_email_is_changed_and_answered_with_200",
        "extensions/test_upsert.py::who_unsubscribed_stays_so_and_the_answer_says_it",
    ),
    "POST /v1/contacts/batch": (
        "extensions/test_batch.py::what_is_wrong_with_one_does_not_touch_the_others",
    ),
    "POST /v1/operations": (
        "extensions/test_operations.py::local_ids_name_what_is_new_in_refs_relationships_and_linkage",
        "extensions/test_operations.py::one_that_is_refused_undoes_all_and_is_pointed_at",
    ),
    "GET /v1/contacts/{id}/consent_events": (
        "extensions/test_consent.py::a_create_with_consent_writes_one_event_with_all_that_was_said",
        "extensions/test_consent.py::a_ledger_is_paged_by_number_and_by_cursor",
    ),
    "POST /v1/contacts/{id}/merge": (
        "extensions/test_merge_and_export.py::the_survivor_keeps_what_it_has_and_takes_what_it_lacks",
        "extensions/test_merge_and_export.py::the_other_id_answers_404_and_names_the_survivor_through_a_chain",
    ),
    "GET /v1/contacts/{id}/export": (
        "extensions/test_merge_and_export.py::an_export_has_everything_that_is_held",
    ),
    "POST /v1/contacts/{id}/erase": ("extensions/test_erase.py::no_byte_of_an_erased_person_is_left",),
    **dict.fromkeys(
        ("PATCH /v1/contact_tags/{id}", "DELETE /v1/contact_tags/{id}"),
        (
            "extensions/test_writing_what_a_site_defines.py::a_tag_is_renamed_archived_brought_back_and_deleted",
        ),
    ),
    "POST /v1/custom_fields": (
        "extensions/test_writing_what_a_site_defines.py::a_contact_answers_a_field_from_its_definition_on",
        "extensions/test_writing_what_a_site_defines.py::a_field_is_judged_whole",
    ),
    "PATCH /v1/custom_fields/{id}": ("5_5::a_changed_field_keeps_its_handle",),
    **dict.fromkeys(
        ("POST /v1/sites", "PATCH /v1/sites/{id}"),
        (
            "extensions/test_writing_what_a_site_defines.py::a_key_that_sees_all_makes_a_site_and_one_that_does_not_may_not",
        ),
    ),
    **dict.fromkeys(
        ("GET /v1/audit_events", "GET /v1/audit_events/{id}"),
        (
            "extensions/test_writing_what_a_site_defines.py::the_audit_tells_who_did_what_newest_first_without_personal_data",
        ),
    ),
}

CONVENTIONS: Proofs = {
    "prefixes `/v1` and `/api/v1`": ("2_conv::both_prefixes_lead_to_the_same",),
    "unknown paths and methods, as JSON:API": ("2_conv::what_does_not_exist_is_answered_404_as_json_api",),
    "`HEAD`": ("2_conv::head_answers_as_get_on_every_resource",),
    "CORS by a setting": (
        "api/test_cors.py::when_off_nothing_is_shared_and_options_is_an_unknown_method",
        "api/test_cors.py::a_preflight_is_answered_on_any_path_without_a_token",
    ),
    "media types": (
        "2_conv::any_media_types_are_taken",
        "2_conv::a_content_type_on_a_get_and_a_body_that_means_nothing_are_ignored",
    ),
    "ids": ("2_conv::an_id_is_a_text_of_digits_and_a_path_without_one_leads_nowhere",),
    "texts, booleans, null": (
        "2_conv::texts_of_every_resource_are_kept_byte_for_byte",
        "1_create::a_boolean_may_be_a_word_or_a_digit",
        "1_create::a_text_may_be_an_integer_and_a_custom_field_null_or_empty",
    ),
    "unknown attributes": ("1_create::unknown_attributes_and_the_id_are_ignored",),
    "moments": ("2_conv::moments_are_in_utc_with_milliseconds",),
    "`page[number]`, `page[size]`": (
        "2_conv::a_bad_page_is_never_an_error",
        "2_conv::a_page_beyond_the_end_is_empty_and_knows_the_total",
        "2_conv::notes_are_paged_by_twenty_and_by_a_hundred_at_most",
    ),
    "immediate consistency": ("2_conv::what_a_write_answered_is_found_by_the_next_read",),
    "top-level `links`": (
        "2_conv::links_lead_through_all_pages_and_are_absent_where_they_lead_nowhere",
        "2_conv::brackets_in_links_are_literal_however_they_were_sent",
        "2_conv::an_email_with_a_plus_survives_the_links",
    ),
    "top-level `meta`": ("2_conv::a_list_has_four_counts_and_two_links",),
    "`sort`": ("2_conv::sorting_ignores_case_and_ends_in_the_order_of_ids",),
    "`fields[…]`, the singular too": (
        "2_conv::sparse_fields_filter_attributes_alone",
        "2_conv::the_singular_of_every_type_is_an_alias_in_sparse_fields",
    ),
    "`include`": ("2_conv::every_include_adds_the_resource_as_it_is_shown",),
    "a repeated parameter": ("2_conv::of_a_repeated_parameter_the_last_one_wins",),
    "brackets, empty names and values, nested arrays": (
        "2_conv::what_means_nothing_is_ignored",
        "2_conv::an_empty_filter_is_absent_on_every_collection",
        "2_conv::links_keep_every_other_parameter_nested_arrays_too",
    ),
    "a raw plus in an e-mail": (
        "9_tolerance::raw_and_encoded_brackets_pluses_and_empty_filters_find_the_contact",
    ),
    "unknown parameters": (
        "2_conv::ignored_parameters_are_counted_in_the_log",
        "2_conv::a_strict_server_refuses_what_means_nothing_by_name",
    ),
    "rate limits": (
        "2_13::by_default_nothing_is_limited_and_nothing_is_said_of_limits",
        "2_13::each_answer_counts_down_to_the_429_and_its_seconds_are_those_of_retry_after",
    ),
    "keys, sites, permissions": (
        "3_oauth::a_foreign_resource_is_answered_like_an_unknown_one_to_the_byte",
        "3_oauth::a_missing_permission_on_a_seen_site_is_403_and_an_unseen_contact_404",
        "3_oauth::a_key_deleted_or_rotated_by_a_command_is_dead_at_the_next_request",
    ),
    "the order of checks": (
        "1_3::the_first_failing_stage_answers_alone",
        "4_errors::the_order_of_checks_of_an_update",
        "4_errors::the_order_of_checks_of_a_relationship_write",
    ),
}

# Of a collection's filters those without an entry of their own are proved by the entry of their class.
FILTERS: Proofs = {
    "contacts site_id": (
        "7_filters::site_id_is_one_or_any_of_a_list_and_else_every_site_of_the_key",
    ),
    **dict.fromkeys(
        (f"contacts {name}" for name in ("search", "email", "email_eq", "email_contains", "name_contains")),
        ("7_filters::filter", "7_filters::substring_filters_find_what_a_plain_scan_finds"),
    ),
    **dict.fromkeys(
        (
            f"contacts {name}"
            for name in (
                "phone_number_contains", "address_line_1_contains", "address_line_2_contains", "address_city_contains",
                "address_state_contains", "address_country_contains", "address_zip_contains",
            )
        ),
        ("7_filters::a_part_of_a_text_in_any_case_finds_the_contact_by_that_attribute_alone",),
    ),
    "contacts mobile_phone_number_contains": ("7_audience::a_mobile_number_that_is_stored_is_found_by_a_part",),
    **dict.fromkeys(
        (
            f"contacts {name}"
            for name in (
                "created_in_last", "not_created_in_last", "is_hidden", "has_tag_id", "has_all_tag_id", "has_no_tag_id",
                "subscribed", "never_subscribed", "subscribed_in_last", "unsubscribed_in_last",
                "manually_unsubscribed_in_last", "opted_out_in_last",
            )
        ),
        ("7_audience::whom_a_filter_finds", "7_audience::two_filters_find_those_whom_each_finds"),
    ),
    **dict.fromkeys(
        (
            f"contacts {name}"
            for name in (
                "joined_in_last", "active_in_last", "inactive_in_last", "has_offer_id", "has_product_id",
                "has_active_product_id", "previously_owned_product_id", "submitted_form_id", "net_revenue_equal_to",
                "net_revenue_greater_than", "net_revenue_less_than",
            )
        ),
        ("7_unsupported::a_filter_by_what_nobody_has_finds_nobody",),
    ),
    **dict.fromkeys(
        (f"contacts {name}" for name in ("has_no_offer_id", "has_no_product_id", "no_submitted_form_id")),
        ("7_unsupported::a_negated_filter_by_what_nobody_has_finds_everybody",),
    ),
    "contact_tags site_id": ("5_3::site_id_is_one_or_any_of_a_list_and_else_every_site_of_the_key",),
    "contact_tags name_cont": ("5_3::parts_of_a_name_find_tags_in_any_case",),
    "contact_notes contact_id": ("5_4::notes_are_found_by_contact_and_site",),
    "contact_notes site_id": ("5_4::notes_are_found_by_contact_and_site",),
    "custom_fields site_id": ("5_5::fields_are_found_by_site",),
    **dict.fromkeys(
        (f"custom_fields {name}" for name in ("title_cont", "type_eq", "required_eq")),
        ("5_5::fields_are_found_by_title_type_and_whether_required",),
    ),
    **dict.fromkeys(
        (f"sites {name}" for name in ("title_cont", "subdomain_cont")),
        ("5_1::parts_of_title_and_subdomain_find_a_site_together",),
    ),
}  # fmt: skip

# These take their cases from the declarations, and so prove each filter of class X, by what its name begins with.
POSITIVE = ("7_unsupported::a_positive_filter_of_class_x_finds_nobody_and_is_named",)
NEGATED = ("7_unsupported::a_negated_filter_of_class_x_finds_everybody_and_is_named",)

SORTS: Proofs = {
    "contacts": ("2_conv::every_sort_and_the_default",),
    "contact_tags": ("5_3::tags_are_in_the_order_of_their_ids_or_sorted_by_name_in_any_case",),
    "contact_notes": ("5_4::the_newest_note_comes_first_unless_sorted",),
    "custom_fields": ("5_5::fields_are_in_the_order_of_their_ids_or_sorted",),
    "sites": ("5_1::sites_are_sorted_by_title_or_subdomain_in_any_case",),
}

INCLUDES: Proofs = {
    "contacts": (
        "2_conv::every_include_adds_the_resource_as_it_is_shown",
        "5_2::included_tags_and_sites_are_whole_and_there_once",
    ),
    "contact_notes": ("5_4::the_contact_is_included_whole_and_once",),
}

ATTRIBUTES: Proofs = {
    "contacts": (
        "5_2::attributes_come_in_the_order_of_the_table_in_every_answer",
        "1_create::the_request_of_the_contract_gives_the_answer_of_the_contract",
    ),
    "contacts name": ("1_create::a_blank_name_becomes_the_local_part_of_the_email",),
    "contacts email": (
        "5_2::an_email_is_trimmed_and_lower_cased_and_found_at_once",
        "5_2::a_changed_email_frees_the_old_one_and_takes_the_new_one",
    ),
    "contacts subscribed": (
        "5_2::subscribed_is_set_by_words_and_digits_and_null_leaves_it",
        "5_2::setting_subscribed_writes_the_history",
    ),
    "contacts external_user_id": (
        "8_decisions::an_external_user_id_is_ignored_on_create_and_refused_on_update",
    ),
    "contacts custom_1 to custom_150": (
        "5_2::a_defined_custom_field_is_answered_as_null_and_an_undefined_one_only_with_a_value",
        "5_2::a_custom_field_is_changed_emptied_and_cleared",
        "8_decisions::a_fresh_server_defines_no_custom_field_and_stores_all_hundred_and_fifty",
    ),
    "contacts updated_at": ("5_2::an_update_moves_updated_at_and_leaves_created_at",),
    "contact_tags": ("5_3::a_name_is_kept_byte_for_byte",),
    **dict.fromkeys(
        ("contact_tags archived", "custom_fields archived"),
        ("extensions/test_writing_what_a_site_defines.py::what_is_archived_says_so_and_is_shown_by_its_id",),
    ),
    "contact_notes": (
        "5_4::a_body_is_kept_byte_for_byte",
        "5_4::a_made_note_is_answered_with_its_place_and_shown_and_listed_as_made",
    ),
    "custom_fields": ("5_5::every_kind_of_field_is_kept_and_found",),
    "sites": ("5_1::a_site_has_its_attributes_in_their_order_and_no_relationships",),
}

FAILURES: Proofs = {
    "TOKEN_MISSING": (
        "1_3::f1_without_a_bearer_token",
        "4_errors::every_call_asks_for_a_token_before_all_else",
    ),
    "TOKEN_INVALID": ("1_3::f2_with_an_unknown_token", "3_oauth::expired_tokens_are_dead"),
    "BODY_NOT_OBJECT": ("1_3::f3_with_a_body_that_is_no_json_object",),
    "DATA_NOT_OBJECT": (
        "1_3::f4_without_a_data_object",
        "4_errors::an_update_needs_the_shape_that_a_create_needs",
    ),
    "ATTRIBUTES_NOT_OBJECT": ("1_3::f5_with_attributes_that_are_no_object",),
    "RELATIONSHIP_REQUIRED": ("1_3::f6_without_one_site_identifier", "5_3::a_tag_without_a_site_is_refused"),
    "RELATED_NOT_FOUND": (
        "1_3::f7_with_an_unknown_site",
        "1_3::f7_with_a_site_that_the_key_does_not_see_is_answered_as_unknown",
    ),
    "PERMISSION_MISSING": (
        "1_3::f8_without_the_permission_on_a_seen_site",
        "4_errors::a_missing_permission_on_a_seen_site_is_answered_403_after_404",
    ),
    "TYPE_CONFLICT": (
        "1_3::f9_with_another_type",
        "4_errors::an_update_with_another_id_or_type_than_the_url_is_refused",
    ),
    "ID_CONFLICT": ("4_errors::an_update_with_another_id_or_type_than_the_url_is_refused",),
    "BLANK": (
        "1_3::f10_with_a_blank_email",
        "4_errors::a_blank_note_body_is_refused_on_create_and_update",
        "4_errors::a_blank_tag_name_is_refused",
    ),
    "INVALID": (
        "1_3::f11_with_a_malformed_email",
        "1_3::f13_with_a_text_of_the_wrong_json_type",
        "1_3::f13_with_a_boolean_of_the_wrong_json_type",
    ),
    "TAKEN": (
        "1_3::f12_with_a_taken_email_names_the_contact_in_the_way",
        "1_3::f12_without_the_right_to_read_names_nobody",
        "5_2::a_taken_email_is_refused_as_on_create",
        "4_errors::a_used_tag_name_is_refused_and_names_the_tag_that_has_it",
    ),
    "NOT_STORABLE": ("1_3::f14_with_u0000_in_a_text", "4_errors::texts_are_judged_alike_on_every_resource"),
    "RATE_EXCEEDED": ("1_3::f15_beyond_the_rate_limit",),
    "UNEXPECTED": ("1_3::f16_when_something_unexpected_happens",),
    "UNAVAILABLE": (
        "1_3::f17_while_the_database_is_locked",
        "4_errors::changes_are_unavailable_while_the_database_is_locked_and_change_nothing",
    ),
    "BODY_TOO_LARGE": (
        "1_3::f18_with_a_body_that_is_announced_too_large",
        "1_3::f18_with_a_body_that_is_streamed_too_large",
        "4_errors::a_body_that_is_too_large_is_refused_by_every_write",
    ),
    "NOT_FOUND": (
        "4_errors::an_unknown_id_and_one_of_an_unseen_site_are_answered_alike",
        "4_errors::a_relationship_write_with_an_unknown_tag_or_one_of_another_site_is_refused_whole",
    ),
    "DATA_NOT_ARRAY": ("4_errors::a_relationship_write_without_an_array_of_identifiers_is_refused",),
    "INCLUDE_UNKNOWN": ("4_errors::an_unknown_include_is_refused_on_lists_and_shows",),
    "PARAMETER_UNKNOWN": ("4_errors::an_unknown_parameter_is_refused_by_name_in_strict_mode_alone",),
    "MUST_EXIST": ("4_errors::a_note_without_contact_or_with_an_unknown_one_is_refused",),
    "NEEDS_CUSTOMER": ("4_errors::an_external_user_id_is_refused_without_a_customer",),
}

# Refusals of HTTP itself and of extensions: the contract does not know them, and they have their tests too.
OTHER_FAILURES: Proofs = {
    "BODY_TOO_SLOW": (
        "bad_input/test_words_of_http.py::what_is_no_request_is_refused_by_json_api",
        "bad_input/test_raw_sockets.py::body_that_comes_a_byte_at_a_time_is_answered_408_and_not_stored",
    ),
    "HEAD_TOO_SLOW": (
        "bad_input/test_words_of_http.py::what_is_no_request_is_refused_by_json_api",
        "bad_input/test_raw_sockets.py::head_that_comes_a_byte_at_a_time_is_answered_408_and_closed_in_time",
    ),
    "HEAD_TOO_LARGE": (
        "bad_input/test_words_of_http.py::what_is_no_request_is_refused_by_json_api",
        "bad_input/test_raw_sockets.py::head_beyond_the_limit_is_answered_431_and_closed",
    ),
    "REQUEST_MALFORMED": (
        "bad_input/test_words_of_http.py::what_is_no_request_is_refused_by_json_api",
        "bad_input/test_raw_sockets.py::what_is_not_http_is_answered_400_and_closed",
    ),
    "DATA_NOT_IDENTIFIER": (
        "extensions/test_merge_and_export.py::a_contact_cannot_be_merged_with_itself_or_with_a_stranger",
    ),
    "ITEMS_OUT_OF_RANGE": (
        "extensions/test_batch.py::none_and_more_than_a_thousand_are_refused",
        "extensions/test_operations.py::a_hundred_are_done_and_one_more_is_refused",
    ),
    "OPERATION_NOT_UNDERSTOOD": (
        "extensions/test_operations.py::an_operation_without_shape_is_refused_and_pointed_at",
    ),
    "HEADER_NOT_USABLE": (
        "extensions/test_idempotency.py::a_key_that_cannot_be_used_is_refused_and_nothing_is_done",
    ),
    "CURSOR_UNKNOWN": ("extensions/test_cursors.py::a_broken_cursor_is_refused_by_name",),
    "CURSORS_BOTH": ("extensions/test_cursors.py::a_cursor_of_another_sort_and_two_at_once_are_refused",),
    "RETRY_RUNNING": ("extensions/test_idempotency.py::while_the_first_still_runs_a_second_is_told_so",),
    "RETRY_DIFFERS": ("extensions/test_idempotency.py::another_body_path_or_method_with_the_key_is_refused",),
    "CHANGED_MEANWHILE": (
        "extensions/test_concurrent_changes.py::a_change_that_expects_another_form_is_refused",
    ),
    "NO_NUMBER_FREE": (
        "extensions/test_writing_what_a_site_defines.py::handles_are_given_from_the_lowest_and_end_at_150",
    ),
    "MERGED_WITH_ITSELF": (
        "extensions/test_merge_and_export.py::a_contact_cannot_be_merged_with_itself_or_with_a_stranger",
    ),
    "META_INVALID": ("extensions/test_batch.py::an_unknown_on_duplicate_is_refused",),
}


TOLERANCE: Proofs = {
    "form, JSON and multipart bodies for a token, at each of its paths": (
        "9_tolerance::a_token_is_given_for_every_body_at_every_path",
    ),
    "a password grant without `grant_type`": (
        "9_tolerance::a_password_grant_without_grant_type_is_understood_as_one",
    ),
    "refreshing with the refresh token alone": ("9_tolerance::a_refresh_token_alone_is_enough",),
    "revoking with one token in header and body": (
        "9_tolerance::header_and_body_of_a_revocation_may_carry_the_same_token",
    ),
    "`expires_in` without a default, tokens checked for being there": (
        "9_tolerance::expires_in_can_be_added_to_a_clock_and_tokens_are_not_empty",
    ),
    "`error` of a token call printed as it stands": (
        "9_tolerance::the_error_of_a_token_call_can_be_printed_as_it_stands",
    ),
    "on 401 a new token and one more try": (
        "9_tolerance::a_client_that_meets_401_gets_a_new_token_and_goes_on",
    ),
    "other content types, any `Accept`, a browser's user agent": (
        "9_tolerance::plain_json_any_accept_and_a_browser_are_welcome_at_every_write",
    ),
    "ids as numbers": ("9_tolerance::ids_may_be_numbers_wherever_a_client_sends_one",),
    "`first_name` and `last_name`": ("9_tolerance::first_and_last_name_are_dropped_and_read_back_as_absent",),
    "an e-mail alone, an empty name": ("9_tolerance::an_email_alone_or_an_empty_name_makes_a_contact",),
    "the last name in `custom_1`, fields above three": (
        "9_tolerance::the_last_name_in_custom_1_and_higher_fields_are_kept",
    ),
    "null to clear a custom field, an empty one": (
        "9_tolerance::null_clears_a_custom_field_and_an_empty_text_is_one",
    ),
    "`subscribed: true` in both writes": ("9_tolerance::subscribed_true_is_taken_on_create_and_on_update",),
    "updates that always send name and e-mail": (
        "9_tolerance::an_update_that_always_sends_name_and_email_is_no_conflict",
    ),
    "a create without a site, an update without `data`: 400": (
        "9_tolerance::a_create_without_a_site_and_an_update_without_data_answer_400",
    ),
    "calls that do not exist: 404": ("9_tolerance::calls_that_do_not_exist_answer_404",),
    "`?upsert=true`": ("9_tolerance::an_upsert_parameter_is_ignored",),
    "tag calls repeated": ("9_tolerance::tag_calls_can_be_repeated_as_if_idempotent",),
    "a tag removed and added to fire it again": ("9_tolerance::a_tag_can_be_removed_and_added_again",),
    "bodies on `DELETE`": ("9_tolerance::the_body_of_a_delete_says_what_is_removed",),
    "`page` and `filter` on relationships": ("9_tolerance::page_and_filter_on_a_relationship_are_ignored",),
    "unencoded brackets and e-mails, `limit`, empty filters, `filter[email]`": (
        "9_tolerance::raw_and_encoded_brackets_pluses_and_empty_filters_find_the_contact",
    ),
    "look-ups without the plus part": (
        "9_tolerance::a_lookup_without_the_plus_part_does_not_find_another_contact",
    ),
    "page sizes, and every way to end a loop over pages": (
        "9_tolerance::every_way_to_end_a_loop_sees_everybody_once",
        "9_tolerance::a_page_has_exactly_the_size_that_was_asked_for",
    ),
    "scans of pages newest first": ("9_tolerance::a_scan_of_pages_in_the_order_of_creation_is_stable",),
    "`links.next` followed, parsed, taken apart": ("9_tolerance::next_can_be_followed_in_every_way",),
    "names of tags from `included` of a list": (
        "9_tolerance::names_of_tags_are_read_from_included_on_a_list",
    ),
    "linkage of a list's items despite sparse fields": (
        "9_tolerance::relationships_of_a_list_item_have_data_despite_sparse_fields",
    ),
    "moments parsed after replacing `Z`": (
        "9_tolerance::moments_can_be_parsed_after_replacing_the_z_and_are_always_there",
    ),
    "ids cast to integers, attributes spread": (
        "9_tolerance::ids_can_be_cast_to_integers_and_attributes_spread_into_a_flat_object",
    ),
    "`data[0]` of a look-up": ("9_tolerance::the_first_of_an_exact_lookup_is_the_right_one",),
    "a look-up right after a create": ("9_tolerance::a_lookup_right_after_a_create_finds_it",),
    "`data.id` of the 201": ("9_tolerance::the_id_of_a_201_leads_to_the_contact",),
    "a duplicate told by status or words": ("9_tolerance::a_duplicate_can_be_told_by_status_or_words",),
    "a 2xx parsed without a look at the status": (
        "9_tolerance::every_2xx_can_be_parsed_without_a_look_at_the_status",
    ),
    "HTML read as failure": ("9_tolerance::no_answer_is_html",),
    "404 leads to a look-up by e-mail": (
        "9_tolerance::a_contact_that_is_gone_answers_404_and_is_found_again_by_its_email",
    ),
    "401 leads to a new token": ("9_tolerance::a_deleted_key_is_401_so_that_clients_drop_their_token",),
    "`detail`, `title` or `error` shown to people": (
        "9_tolerance::what_is_shown_to_people_is_there_in_every_error",
    ),
}


def expected() -> dict[str, set[str]]:
    """Return, for each table that follows from declarations, the keys that it has to have."""
    routes = all_routes(list(RESOURCES.values()))
    return {
        "operations": {
            f"{each.method} {each.template}"
            for each in routes
            if each.template.startswith((PREFIX, "/oauth"))
        },
        "filters": {f"{of.name} {each.name}" for of in TYPES for each in of.filters if each.grade != "X"},
        "sorts": {of.name for of in TYPES if of.sorts},
        "includes": {of.name for of in TYPES if includes_of(of.name)},
        "attributes": {of.name for of in TYPES},
        "failures": {each.name for each in Refusal},
    }


def attributes_of(of: ResourceType) -> list[str]:
    """Return the names of a type's attributes, a family of them as one."""
    return [
        f"{each.prefix}1 to {each.prefix}{each.highest}" if isinstance(each, AttributeFamily) else each.name
        for each in of.attributes
    ]


def includes_of(name: str) -> list[str]:
    """Return the relationships of a type that `include` may name."""
    return [each.name for of in TYPES if of.name == name for each in of.relationships if each.includable]


def proofs_of_filter(of: str, name: str) -> tuple[str, ...]:
    """Return what proves a filter of a collection."""
    unsupported = NEGATED if name.startswith(("no_", "not_")) else POSITIVE
    return FILTERS.get(f"{of} {name}", unsupported)


def proofs_of_attribute(of: str, name: str) -> tuple[str, ...]:
    """Return what proves an attribute: its own proof, or that of all attributes of its type."""
    return ATTRIBUTES.get(f"{of} {name}") or ATTRIBUTES[of]


def test_of(proof: str) -> str:
    """Return a proof as pytest names it, within tests/contract or, with its folder, within tests.

    Raises ValueError where the beginning of a file's name fits none, or several.
    """
    file, _, function = proof.partition("::")
    if "/" not in file:
        (file,) = (each.name for each in HERE.glob(f"test_{file}*.py"))
    return f"{file}::test_{function}"


def every_proof() -> set[str]:
    """Return all proofs that any table names."""
    tables = (
        OPERATIONS,
        EXTENSIONS,
        CONVENTIONS,
        FILTERS,
        SORTS,
        INCLUDES,
        ATTRIBUTES,
        FAILURES,
        OTHER_FAILURES,
        TOLERANCE,
    )
    return set(chain(POSITIVE, NEGATED, *(chain.from_iterable(table.values()) for table in tables)))
