{{ config(
    materialized='incremental',
    incremental_predicates=[is_touched_session_date()],
) }}

-- depends_on: {{ ref('int_touched_session_dates') }}
-- fct_sessions takes a session's source and device from wherever in the session they first appear: right for a report,
-- but a model at the first event cannot know what the ninth will say. Here only the events of the first moment count:
-- the first interaction, what came in its batch, and the session_start before it.
with source_categories as (
    select * from {{ ref('ga4_source_categories') }}
),

spans as (
    select
        session_no,
        session_date,
        event_at as entered_at
    from {{ session_events() }} as events
    where interaction_number = 1
),

entry_events as (
    select
        spans.session_no,
        events.session_id,
        spans.session_date,
        spans.entered_at,
        events.event_name,
        events.page_path,
        events.ga_session_number,
        events.page_hostname,
        events.external_referrer,
        events.has_event_source,
        events.event_source,
        events.event_medium,
        events.event_campaign,
        events.has_last_click,
        events.last_click_source,
        events.last_click_medium,
        events.last_click_campaign,
        events.last_click_channel_group,
        events.device_category,
        events.operating_system,
        events.browser,
        events.country,
        case when events.interaction_number is null then 1000000000 else 0 end + events.event_number as entry_order
    from {{ session_events() }} as events
    inner join spans on events.session_no = spans.session_no and events.event_at <= spans.entered_at
    where not events.is_background
),

entries as (
    select
        session_no,
        session_date,
        entered_at,
        {{ session_number_of_ga4() }} as ga_session_number,
        case
            when {{ any_true("event_name = 'view_item'") }} then 'product'
            when {{ any_true("event_name = 'view_search_results'") }} then 'search'
            when {{ any_true("event_name = 'view_item_list'") }} then 'list'
            when {{ any_true("event_name in ('view_cart', 'begin_checkout')") }} then 'cart'
            when {{ any_true("page_path = '/'") }} then 'home'
            else 'other'
        end as landing_type,
        {{ first_sources() }},
        {{ first_device() }}
    from entry_events
    group by session_no, session_date, entered_at
),

told as (
    select
        session_no,
        session_date,
        entered_at,
        ga_session_number,
        landing_type,
        device_category,
        operating_system,
        browser,
        country,
        {{ first_source_columns() }}
    from entries
),

referred as (
    select
        *,
        {{ source_origin() }} as source_origin,
        {{ bare_hostname('entry_referrer') }} as referrer
    from told
),

sourced as (
    select
        referred.*,
        {{ own_source_columns('referrers.category') }}
    from referred
    left join source_categories as referrers on referred.referrer = referrers.source
)

select
    sourced.session_no,
    sourced.session_date,
    sourced.entered_at,
    sourced.ga_session_number,
    sourced.landing_type,
    coalesce(sourced.own_source, '(direct)') as session_source,
    coalesce(sourced.own_campaign, '(not set)') as session_campaign,
    coalesce(sourced.own_channel_group, {{ default_channel_group(
        'lower(sourced.own_source)', 'sourced.own_medium', 'lower(sourced.own_campaign)',
        'source_categories.category', 'coalesce(source_categories.is_paid_without_medium, false)', 'sourced.session_date'
    ) }}) as default_channel_group,
    coalesce(sourced.device_category, '(not set)') as device_category,
    coalesce(sourced.operating_system, '(not set)') as operating_system,
    coalesce(sourced.browser, '(not set)') as browser,
    coalesce(sourced.country, '(not set)') as country
from sourced
left join source_categories on {{ bare_hostname('sourced.own_source') }} = source_categories.source
