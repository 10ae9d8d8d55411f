{#- Where a session comes from by its own events: one definition for reports (`fct_sessions`) and features
    (`int_session_entries`), which differ in the events that they look at. -#}

{#- What is known of a campaign beside its name: belongs to the tuple, like that. -#}
{% macro campaign_details() -%}
    {{ return(['campaign_content', 'campaign_term', 'campaign_id']) }}
{%- endmacro %}

{#- The columns of the last click, and of an event's own tuple. -#}
{% macro last_click_fields(details) -%}
    {%- set fields = [] -%}
    {%- for name in ['source', 'medium', 'campaign', 'channel_group'] + details -%}
        {%- do fields.append('last_click_' ~ name) -%}
    {%- endfor -%}
    {{ return(fields) }}
{%- endmacro %}

{% macro event_fields(details) -%}
    {%- set fields = [] -%}
    {%- for name in ['source', 'medium', 'campaign'] + details -%}
        {%- do fields.append('event_' ~ name) -%}
    {%- endfor -%}
    {{ return(fields) }}
{%- endmacro %}

{#- What the earliest events say, one tuple from one event (rule 8), with the host of the page that it came to. In a query
    that groups events with an `entry_order` by session; `details` of the campaign (`campaign_details`) for reports alone. -#}
{% macro first_sources(details=[]) -%}
    coalesce({{ any_true("has_last_click") }}, false) as has_last_click,
    coalesce({{ any_true("has_event_source") }}, false) as has_event_source,
    {{ earliest_where(row_of(last_click_fields(details) + ['page_hostname']), 'entry_order', 'has_last_click') }}
        as last_click,
    {{ earliest_where(row_of(event_fields(details) + ['page_hostname']), 'entry_order', 'has_event_source') }}
        as event_tuple,
    {{ earliest_where(row_of(['external_referrer', 'page_hostname']), 'entry_order', 'page_path is not null') }} as entry
{%- endmacro %}

{#- The tuples of `first_sources` as columns. -#}
{% macro first_source_columns(details=[]) -%}
    has_last_click,
    {% for field in last_click_fields(details) -%}
        {{ row_field('last_click', field) }} as {{ field }},
    {% endfor -%}
    {{ row_field('last_click', 'page_hostname') }} as last_click_hostname,
    has_event_source,
    {% for field in event_fields(details) -%}
        {{ row_field('event_tuple', field) }} as {{ field }},
    {% endfor -%}
    {{ row_field('event_tuple', 'page_hostname') }} as event_hostname,
    {{ row_field('entry', 'external_referrer') }} as entry_referrer,
    {{ row_field('entry', 'page_hostname') }} as entry_hostname
{%- endmacro %}

{#- The device and the place at the start, in such a query; with `details` each with what its event says beside it, as one
    value, which costs no more than the name alone: no place is put together from two events. -#}
{% macro first_device(details={}) -%}
    {% for name in ['device_category', 'operating_system', 'browser', 'country'] -%}
        {%- set value = row_of([name] + details[name]) if details[name] else name -%}
        {{ earliest_where(value, 'entry_order', name ~ ' is not null') }} as {{ name }}{{ ',' if not loop.last }}
    {% endfor -%}
{%- endmacro %}

{#- What reports say beside the system and the country. -#}
{% macro device_details() -%}
    {{ return({'operating_system': ['operating_system_version'], 'country': ['region', 'city']}) }}
{%- endmacro %}

{#- The values of `first_device` as columns. -#}
{% macro first_device_columns(details) -%}
    device_category,
    browser{% for name in details -%}
        {%- for field in [name] + details[name] -%}
            , {{ row_field(name, field) }} as {{ field }}
        {%- endfor -%}
    {%- endfor -%}
{%- endmacro %}

{#- Which of the columns of `first_sources` tells the source: last_click, event or referrer; null where none does. The shop
    itself and payment providers send nobody (rule 33). -#}
{% macro source_origin() -%}
    case
        when has_last_click and not {{ is_own_referral('last_click_source', 'last_click_medium', 'last_click_hostname') }}
            then 'last_click'
        when has_event_source and not {{ is_own_referral('event_source', 'event_medium', 'event_hostname') }}
            then 'event'
        when entry_referrer is not null and not {{ is_own_referrer('entry_referrer', 'entry_hostname') }}
            then 'referrer'
    end
{%- endmacro %}

{#- The session's own source, medium, campaign and channel group, the last where the export names it: of a query that has
    `source_origin`, the `referrer` and its category. -#}
{% macro own_source_columns(referrer_category) -%}
    case source_origin
        when 'last_click' then last_click_source
        when 'event' then event_source
        when 'referrer' then referrer
    end as own_source,
    case source_origin
        when 'last_click' then last_click_medium
        when 'event' then event_medium
        when 'referrer' then {{ medium_of_referrer(referrer_category, 'session_date') }}
    end as own_medium,
    case source_origin
        when 'last_click' then last_click_campaign
        when 'event' then event_campaign
        when 'referrer' then {{ campaign_of_referrer(referrer_category, 'session_date') }}
    end as own_campaign,
    case source_origin when 'last_click' then last_click_channel_group end as own_channel_group
{%- endmacro %}

{#- What else is known of that campaign, in such a query. -#}
{% macro own_campaign_details() -%}
    {% for detail in campaign_details() -%}
        case source_origin
            when 'last_click' then last_click_{{ detail }}
            when 'event' then event_{{ detail }}
        end as own_{{ detail }}{{ ',' if not loop.last }}
    {% endfor -%}
{%- endmacro %}

{#- Predicate: this is no site that a visitor comes from, but the shop itself or a payment provider. -#}
{% macro is_own_referrer(referrer, page_hostname) -%}
    coalesce((lower({{ referrer }}), {{ page_hostname }}) in (
        select
            own.referrer,
            own.page_hostname
        from {{ ref('int_own_referrers') }} as own
    ), false)
{%- endmacro %}

{#- Predicate: a source that is said to be such a referrer. -#}
{% macro is_own_referral(source, medium, page_hostname) -%}
    (coalesce({{ medium }}, '') = 'referral' and {{ is_own_referrer(source, page_hostname) }})
{%- endmacro %}
