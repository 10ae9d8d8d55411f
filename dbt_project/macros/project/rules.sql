{#- GA4 readings that several models share. -#}

{#- '(not set)', '' and blanks are how GA4 writes nothing. -#}
{% macro not_set_to_null(value) -%}
    nullif(nullif({{ trimmed(value) }}, ''), '(not set)')
{%- endmacro %}

{#- '' and blanks are nothing; '(not set)' is what GA4 says where it knows that it does not know. -#}
{% macro not_blank(value) -%}
    nullif({{ trimmed(value) }}, '')
{%- endmacro %}

{#- Why a raw row is no event at all; null for a good one. Order matters: the first reason is given. The landing suite
    counts such rows before a build (expectations/sql/landing/event_profile_batch.sql), with the same vars. -#}
{% macro quarantine_reason() -%}
    case
        when event_name is null or {{ trimmed('event_name') }} = '' then 'missing_event_name'
        when event_timestamp is null then 'missing_event_timestamp'
        when
            event_timestamp not between {{ var('earliest_event_timestamp') }} and {{ var('latest_event_timestamp') }}
            then 'impossible_event_timestamp'
        when {{ date_from_yyyymmdd('event_date') }} is null then 'impossible_event_date'
        when cast({{ date_from_yyyymmdd('event_date') }} as string) != lake_day then 'event_date_of_another_day'
        when
            event_timestamp - {{ micros_of(date_from_yyyymmdd('event_date')) }}
            not between {{ var('earliest_micros_from_event_date') }} and {{ var('latest_micros_from_event_date') }}
            then 'event_timestamp_far_from_event_date'
    end
{%- endmacro %}

{#- Path of a URL: no host, no query, no fragment; '/' for a bare host. -#}
{% macro page_path(url) -%}
    case
        when {{ url }} is not null
            then coalesce({{ regex_extract(url, "^(?:[A-Za-z]+://[^/?#]*)?(/[^?#]*)") }}, '/')
    end
{%- endmacro %}

{#- Total order of events (rule 1): time, place in the batch, the page that GA4 calls the entrance, then a stable hash of
    the row. -#}
{% macro event_order(prefix='') -%}
    {{ prefix }}event_timestamp, {{ prefix }}batch_page_id nulls last, {{ prefix }}batch_ordering_id nulls last,
    {{ prefix }}batch_event_index nulls last, {{ prefix }}is_entrance desc, {{ prefix }}event_hash
{%- endmacro %}

{#- Id of an event: its day and its identity hash. -#}
{% macro event_id(event_date, event_hash) -%}
    cast({{ event_date }} as string) || '-' || cast({{ event_hash }} as string)
{%- endmacro %}

{#- Events that no visitor makes: they tell of a refund, of a message, of what became of an app (rule 30). -#}
{% macro is_background(event_name) -%}
    {{ event_name }} in ('{{ var('background_events') | join("', '") }}')
{%- endmacro %}

{#- Whether an event without a ga_session_id can have come from a page or an app, and not from a server. -#}
{% macro is_sent_by_a_visitor(event_name, page_path) -%}
    {{ page_path }} is not null
    or {{ event_name }} in (
        'page_view', 'screen_view', 'user_engagement', 'session_start', 'first_visit', 'first_open', 'scroll', 'click'
    )
{%- endmacro %}

{#- A session's number as GA4 counts; what follows a long gap under the same id is a session that GA4 has not numbered. -#}
{% macro session_number_of_ga4() -%}
    min(case when not {{ contains_text('session_id', '|from-') }} then ga_session_number end)
{%- endmacro %}

{#- A longer gap ends a session, whatever id its events have: GA4 lets no property wait longer. -#}
{% macro longest_gap_micros() -%}
    {{ var('longest_session_gap_minutes') * 60 * 1000000 }}
{%- endmacro %}

{#- Events that tell of money: orders, what was bought in an app, and what was paid back. -#}
{% macro is_about_money(event_name) -%}
    {{ event_name }} in ('purchase', 'in_app_purchase', 'refund')
{%- endmacro %}

{#- What is paid beside the goods; null where nothing that can be a price was sent. -#}
{% macro cost_or_null(value) -%}
    case when {{ value }} >= 0 then {{ amount_or_null(value) }} end
{%- endmacro %}

{#- The id of an order; null for what tag managers send where there is none, which would make one order of many. -#}
{% macro transaction_id(column) -%}
    case
        when
            lower(trim({{ column }})) not in (
                {%- for placeholder in var('placeholder_transaction_ids') %}'{{ placeholder }}'{{ ', ' if not loop.last }}{% endfor -%}
            )
            and not {{ regex_full_match('trim(' ~ column ~ ')', var('placeholder_transaction_id_pattern')) }}
            then {{ not_set_to_null(column) }}
    end
{%- endmacro %}

{#- A field ('id', 'number' or 'engaged') of a session id that was sent as GA4's cookie holds it: `s1747068300$o5$g1$…`,
    with or without `GS2.1.` before it, or in the older form `GS1.1.1747068300.5.1.…`. -#}
{% macro session_cookie_field(cookie, field) -%}
    {%- set newer = {
        'id': '^(?:GS2[.][0-9]+[.])?s([0-9]{1,15})(?:[$]|$)',
        'number': '^(?:GS2[.][0-9]+[.])?s[0-9]+[$](?:.*[$])?o([0-9]{1,9})(?:[$]|$)',
        'engaged': '^(?:GS2[.][0-9]+[.])?s[0-9]+[$](?:.*[$])?g([0-9])(?:[$]|$)',
    }[field] -%}
    {%- set older = {
        'id': '^GS1[.][0-9]+[.]([0-9]{1,15})(?:[.]|$)',
        'number': '^GS1[.][0-9]+[.][0-9]+[.]([0-9]{1,9})(?:[.]|$)',
        'engaged': '^GS1[.][0-9]+[.][0-9]+[.][0-9]+[.]([0-9])(?:[.]|$)',
    }[field] -%}
    case
        when {{ cookie }} is not null
            then cast(coalesce({{ regex_extract(cookie, newer) }}, {{ regex_extract(cookie, older) }}) as bigint)
    end
{%- endmacro %}

{#- session_traffic_source_last_click says something. -#}
{% macro has_last_click(column) -%}
    coalesce(
        {{ column }}_cross_channel_campaign_source, {{ column }}_cross_channel_campaign_medium,
        {{ column }}_cross_channel_campaign_default_channel_group,
        {{ column }}_google_ads_campaign_campaign_name, {{ column }}_google_ads_campaign_campaign_id,
        {{ column }}_manual_campaign_source, {{ column }}_manual_campaign_medium
    ) is not null
{%- endmacro %}

{#- One field ('source', 'medium' or 'campaign') of session_traffic_source_last_click: the cross-channel campaign is what
    GA4's own reports show; older exports have only Google Ads and manual campaigns. '(not set)' is an answer here: GA4
    knows no source, and reports the session as Unassigned. -#}
{% macro last_click_field(column, field) -%}
    {%- set name = 'campaign_name' if field == 'campaign' else field -%}
    {%- set cleaned = not_set_to_null if field == 'campaign' else not_blank -%}
    case
        when coalesce({{ column }}_cross_channel_campaign_source, {{ column }}_cross_channel_campaign_medium) is not null
            then {{ cleaned(column ~ '_cross_channel_campaign_' ~ name) }}
        when coalesce({{ column }}_google_ads_campaign_campaign_name, {{ column }}_google_ads_campaign_campaign_id) is not null
            then {% if field == 'source' %}'google'{% elif field == 'medium' %}'cpc'{% else %}{{ not_set_to_null(column ~ '_google_ads_campaign_campaign_name') }}{% endif %}
        else {{ cleaned(column ~ '_manual_campaign_' ~ name) }}
    end
{%- endmacro %}

{#- What else is known of that click ('content', 'term' or 'campaign_id'). The cross-channel campaign has no content and no
    term: those of the manual one are its own where both name one click. -#}
{% macro last_click_detail(column, field) -%}
    {%- set cross, google, manual = column ~ '_cross_channel_campaign_', column ~ '_google_ads_campaign_', column ~ '_manual_campaign_' -%}
    case
        when coalesce({{ cross }}source, {{ cross }}medium) is not null
            then {% if field == 'campaign_id' %}{{ not_set_to_null(cross ~ field) }}{% else %}case
                when
                    coalesce({{ cross }}source, '') = coalesce({{ manual }}source, '')
                    and coalesce({{ cross }}medium, '') = coalesce({{ manual }}medium, '')
                    and coalesce({{ cross }}campaign_name, '') = coalesce({{ manual }}campaign_name, '')
                    then {{ not_set_to_null(manual ~ field) }}
            end{% endif %}
        when coalesce({{ google }}campaign_name, {{ google }}campaign_id) is not null
            then {% if field == 'campaign_id' %}{{ not_set_to_null(google ~ field) }}{% else %}null{% endif %}
        else {{ not_set_to_null(manual ~ field) }}
    end
{%- endmacro %}

{#- The channel group that the export itself names: it knows the type of a Google Ads campaign, which no source and medium
    tell. -#}
{% macro last_click_channel_group(column) -%}
    {{ not_set_to_null(column ~ '_cross_channel_campaign_default_channel_group') }}
{%- endmacro %}
