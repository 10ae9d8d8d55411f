{{ config(
    materialized='incremental',
    incremental_predicates=[is_touched_session_date()],
) }}

{%- set last_click_columns = [
    'last_click_source', 'last_click_medium', 'last_click_campaign', 'last_click_channel_group', 'page_hostname'
] -%}
{%- set referral_columns = ['external_referrer', 'page_hostname'] -%}
{%- set event_columns = ['event_source', 'event_medium', 'event_campaign', 'page_hostname'] -%}

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
    inner join spans on events.session_id = spans.session_id and events.event_at <= spans.entered_at
    where not events.is_background
),

entries as (
    select
        session_id,
        session_date,
        entered_at,
        last_interaction_at,
        first_cart_at,
        {{ session_number_of_ga4() }} as ga_session_number,
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
        {{ earliest(row_of(referral_columns), 'entry_order') }} filter (where page_path is not null) as entry_referral,
        {{ earliest('device_category', 'entry_order') }} filter (where device_category is not null) as device_category,
        {{ earliest('operating_system', 'entry_order') }} filter (where operating_system is not null)
            as operating_system,
        {{ earliest('browser', 'entry_order') }} filter (where browser is not null) as browser,
        {{ earliest('country', 'entry_order') }} filter (where country is not null) as country
    from entry_events
    group by session_id, session_date, entered_at, last_interaction_at, first_cart_at
),

told as (
    select
        *,
        {{ row_field('last_click', 'last_click_source') }} as last_click_source,
        {{ row_field('last_click', 'last_click_medium') }} as last_click_medium,
        {{ row_field('last_click', 'page_hostname') }} as last_click_hostname,
        {{ row_field('event_tuple', 'event_source') }} as event_source,
        {{ row_field('event_tuple', 'event_medium') }} as event_medium,
        {{ row_field('event_tuple', 'page_hostname') }} as event_hostname,
        {{ row_field('entry_referral', 'external_referrer') }} as entry_referrer,
        {{ row_field('entry_referral', 'page_hostname') }} as entry_hostname
    from entries
),

referred as (
    select
        told.*,
        case
            when not {{ is_own_referrer('told.entry_referrer', 'told.entry_hostname') }}
                then {{ bare_hostname('told.entry_referrer') }}
        end as referrer,
        has_last_click
        and not (
            coalesce(told.last_click_medium, '') = 'referral'
            and {{ is_own_referrer('told.last_click_source', 'told.last_click_hostname') }}
        ) as is_last_click,
        has_event_source
        and not (
            coalesce(told.event_medium, '') = 'referral'
            and {{ is_own_referrer('told.event_source', 'told.event_hostname') }}
        ) as is_event
    from told
),

sourced as (
    select
        referred.*,
        case
            when referred.is_last_click then referred.last_click_source
            when referred.is_event then referred.event_source
            else referred.referrer
        end as source,
        case
            when referred.is_last_click then referred.last_click_medium
            when referred.is_event then referred.event_medium
            when referred.referrer is not null
                then {{ medium_of_referrer('referrers.category', 'referred.session_date') }}
        end as medium,
        case
            when referred.is_last_click then {{ row_field('referred.last_click', 'last_click_campaign') }}
            when referred.is_event then {{ row_field('referred.event_tuple', 'event_campaign') }}
            when referred.referrer is not null
                then {{ campaign_of_referrer('referrers.category', 'referred.session_date') }}
        end as campaign,
        case when referred.is_last_click then {{ row_field('referred.last_click', 'last_click_channel_group') }} end
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
        'source_categories.category', 'coalesce(source_categories.is_paid_without_medium, false)', 'sourced.session_date'
    ) }}) as default_channel_group,
    coalesce(sourced.device_category, '(not set)') as device_category,
    coalesce(sourced.operating_system, '(not set)') as operating_system,
    coalesce(sourced.browser, '(not set)') as browser,
    coalesce(sourced.country, '(not set)') as country
from sourced
left join source_categories on {{ bare_hostname('sourced.source') }} = source_categories.source
