{#- GA4 readings that several models share. -#}

{#- '(not set)', '' and blanks are how GA4 writes nothing. -#}
{% macro not_set_to_null(value) -%}
    nullif(nullif({{ trimmed(value) }}, ''), '(not set)')
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
        when cast({{ date_from_yyyymmdd('event_date') }} as varchar) != lake_day then 'event_date_of_another_day'
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

{#- Total order of events (rule 1): time, place in the batch, then a stable hash of the row. -#}
{% macro event_order(prefix='') -%}
    {{ prefix }}event_timestamp, {{ prefix }}batch_page_id nulls last, {{ prefix }}batch_ordering_id nulls last,
    {{ prefix }}batch_event_index nulls last, {{ prefix }}event_hash
{%- endmacro %}

{#- Id of an event: its day and its identity hash. -#}
{% macro event_id(event_date, event_hash) -%}
    cast({{ event_date }} as varchar) || '-' || cast({{ event_hash }} as varchar)
{%- endmacro %}

{#- session_traffic_source_last_click says something. -#}
{% macro has_last_click(column) -%}
    coalesce(
        {{ column }}.cross_channel_campaign.source, {{ column }}.cross_channel_campaign.medium,
        {{ column }}.google_ads_campaign.campaign_name, {{ column }}.google_ads_campaign.campaign_id,
        {{ column }}.manual_campaign.source, {{ column }}.manual_campaign.medium
    ) is not null
{%- endmacro %}

{#- One field ('source', 'medium' or 'campaign') of session_traffic_source_last_click: the cross-channel campaign is what
    GA4's own reports show; older exports have only Google Ads and manual campaigns. -#}
{% macro last_click_field(column, field) -%}
    {%- set name = 'campaign_name' if field == 'campaign' else field -%}
    case
        when coalesce({{ column }}.cross_channel_campaign.source, {{ column }}.cross_channel_campaign.medium) is not null
            then {{ not_set_to_null(column ~ '.cross_channel_campaign.' ~ name) }}
        when coalesce({{ column }}.google_ads_campaign.campaign_name, {{ column }}.google_ads_campaign.campaign_id) is not null
            then {% if field == 'source' %}'google'{% elif field == 'medium' %}'cpc'{% else %}{{ not_set_to_null(column ~ '.google_ads_campaign.campaign_name') }}{% endif %}
        else {{ not_set_to_null(column ~ '.manual_campaign.' ~ name) }}
    end
{%- endmacro %}
