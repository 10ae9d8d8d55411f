{{ config(
    materialized='incremental',
    incremental_predicates=[is_touched_session_date()],
) }}

{%- set last_click_columns = [
    'last_click_source', 'last_click_medium', 'last_click_campaign', 'last_click_channel_group'
] -%}
{%- set event_columns = ['event_source', 'event_medium', 'event_campaign'] -%}

-- depends_on: {{ ref('int_touched_session_dates') }}
-- fct_sessions takes a session's source and device from wherever in the session they first appear: right for a report,
-- but a model at the first event cannot know what the ninth will say. Here only the events of the first moment count:
-- the first interaction, what came in its batch, and the session_start before it.
with source_categories as (
    select * from {{ ref('ga4_source_categories') }}
),

spans as (
    select
        session_id,
        session_date,
        min(event_at) as entered_at,
        max(event_at) as last_interaction_at,
        min(case when event_name = 'add_to_cart' then event_at end) as first_cart_at
    from {{ ref('int_session_interactions') }}
    {% if is_incremental() %}
        where {{ is_touched_session_date() }}
    {% endif %}
    group by session_id, session_date
),

entry_events as (
    select
        spans.session_id,
        spans.session_date,
        spans.entered_at,
        spans.last_interaction_at,
        spans.first_cart_at,
        events.event_name,
        events.page_path,
        events.ga_session_number,
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
    inner join spans on events.session_id = spans.session_id and events.event_at <= spans.entered_at
),

entries as (
    select
        session_id,
        session_date,
        entered_at,
        last_interaction_at,
        first_cart_at,
        min(ga_session_number) as ga_session_number,
        case
            when bool_or(event_name = 'view_item') then 'product'
            when bool_or(event_name = 'view_search_results') then 'search'
            when bool_or(event_name = 'view_item_list') then 'list'
            when bool_or(event_name in ('view_cart', 'begin_checkout')) then 'cart'
            when bool_or(page_path = '/') then 'home'
            else 'other'
        end as landing_type,
        coalesce(bool_or(has_last_click), false) as has_last_click,
        coalesce(bool_or(has_event_source), false) as has_event_source,
        -- one tuple from one event (rule 8)
        {{ earliest(row_of(last_click_columns), 'entry_order') }} filter (where has_last_click) as last_click,
        {{ earliest(row_of(event_columns), 'entry_order') }} filter (where has_event_source) as event_tuple,
        {{ earliest('external_referrer', 'entry_order') }} filter (where page_path is not null) as entry_referrer,
        {{ earliest('device_category', 'entry_order') }} filter (where device_category is not null) as device_category,
        {{ earliest('operating_system', 'entry_order') }} filter (where operating_system is not null)
            as operating_system,
        {{ earliest('browser', 'entry_order') }} filter (where browser is not null) as browser,
        {{ earliest('country', 'entry_order') }} filter (where country is not null) as country
    from entry_events
    group by session_id, session_date, entered_at, last_interaction_at, first_cart_at
),

referred as (
    select
        entries.*,
        {{ bare_hostname('entries.entry_referrer') }} as referrer
    from entries
),

sourced as (
    select
        referred.*,
        case
            when has_last_click then {{ row_field('last_click', 'last_click_source') }}
            when has_event_source then {{ row_field('event_tuple', 'event_source') }}
            else referred.referrer
        end as source,
        case
            when has_last_click then {{ row_field('last_click', 'last_click_medium') }}
            when has_event_source then {{ row_field('event_tuple', 'event_medium') }}
            when referred.referrer is not null
                then case when referrers.category = 'search' then 'organic' else 'referral' end
        end as medium,
        case
            when has_last_click then {{ row_field('last_click', 'last_click_campaign') }}
            when has_event_source then {{ row_field('event_tuple', 'event_campaign') }}
        end as campaign,
        case when has_last_click then {{ row_field('last_click', 'last_click_channel_group') }} end
            as named_channel_group
    from referred
    left join source_categories as referrers on referred.referrer = referrers.source
)

select
    sourced.session_id,
    sourced.session_date,
    sourced.entered_at,
    sourced.last_interaction_at,
    sourced.first_cart_at,
    sourced.ga_session_number,
    sourced.landing_type,
    coalesce(sourced.source, '(direct)') as session_source,
    coalesce(sourced.campaign, '(not set)') as session_campaign,
    coalesce(sourced.named_channel_group, {{ default_channel_group(
        'lower(sourced.source)', 'sourced.medium', 'lower(sourced.campaign)',
        'source_categories.category', 'coalesce(source_categories.is_paid_without_medium, false)'
    ) }}) as default_channel_group,
    coalesce(sourced.device_category, '(not set)') as device_category,
    coalesce(sourced.operating_system, '(not set)') as operating_system,
    coalesce(sourced.browser, '(not set)') as browser,
    coalesce(sourced.country, '(not set)') as country
from sourced
left join source_categories on {{ bare_hostname('sourced.source') }} = source_categories.source
