{{ config(
    materialized='incremental',
    incremental_predicates=[is_touched_session_date()],
    pre_hook="{{ remember_previous('ops.previously_touched_starts', this, is_touched_session_date(), columns=['session_started_at', 'user_pseudo_id']) }}",
) }}

{%- set event_columns = ['event_source', 'event_medium', 'event_campaign', 'page_hostname'] -%}
{%- set last_click_columns = [
    'last_click_source', 'last_click_medium', 'last_click_campaign', 'last_click_channel_group', 'page_hostname'
] -%}
{%- set entry_columns = ['external_referrer', 'page_hostname'] -%}

-- depends_on: {{ ref('int_touched_session_dates') }}
with events as (
    select
        *,
        -- session_start and first_visit may be missing, repeated or last: what a session starts with is read from the
        -- other events, and from those two only where there is nothing else (rule 4)
        case when interaction_number is null then 1000000000 else 0 end + event_number as entry_order,
        case when not is_background then event_at end as visited_at,
        case when not is_background then page_path end as visited_page
    from {{ session_events() }} as events
),

measured as (
    select
        session_id,
        session_date,
        -- device and stream are the same in all events of a session: one of them will do
        max(user_pseudo_id) filter (where event_number = 1) as user_pseudo_id,
        {{ earliest('user_id', '-event_number') }} filter (where user_id is not null) as user_id,
        max(stream_id) filter (where event_number = 1) as stream_id,
        max(ga_session_id) as ga_session_id,
        {{ session_number_of_ga4() }} as ga_session_number,
        min(visited_at) as session_started_at,
        max(visited_at) as session_ended_at,
        -- null where nothing was measured: that is not the same as no engagement, and stays out of averages (rule 12)
        {{ msec_to_seconds('sum(engagement_msec)') }} as engagement_seconds,
        max(session_engaged) as session_engaged,
        count(*) as event_count,
        {{ count_where("event_name in ('page_view', 'screen_view')") }} as page_views,
        {{ count_where("event_name = 'view_item'") }} as product_views,
        {{ count_where("event_name = 'add_to_cart'") }} as add_to_carts,
        {{ count_where("event_name = 'begin_checkout'") }} as begin_checkouts,
        {{ count_where("event_name in ('purchase', 'in_app_purchase')") }} as key_events,
        {{ count_where("event_name = 'first_visit'") }} as first_visits,
        {{ count_where("event_name = 'view_search_results'") }} as searches,
        coalesce(max(percent_scrolled), 0) as max_scroll_percent,
        {{ earliest('visited_page', 'entry_order') }} filter (where visited_page is not null) as landing_page,
        {{ earliest('visited_page', '-event_number') }} filter (where visited_page is not null) as exit_page,
        -- one tuple from one event (rule 8), and the host that it came to
        {{ earliest(row_of(event_columns), 'entry_order') }} filter (where has_event_source) as event_tuple,
        {{ earliest(row_of(last_click_columns), 'entry_order') }} filter (where has_last_click) as last_click,
        {{ earliest(row_of(entry_columns), 'entry_order') }} filter (where page_path is not null) as entry,
        coalesce(bool_or(has_event_source), false) as has_event_source,
        coalesce(bool_or(has_last_click), false) as has_last_click,
        {{ earliest('device_category', 'entry_order') }} filter (where device_category is not null) as device_category,
        {{ earliest('operating_system', 'entry_order') }} filter (where operating_system is not null)
            as operating_system,
        {{ earliest('browser', 'entry_order') }} filter (where browser is not null) as browser,
        {{ earliest('country', 'entry_order') }} filter (where country is not null) as country
    from events
    group by session_id, session_date
)

select
    session_id,
    session_date,
    user_pseudo_id,
    user_id,
    stream_id,
    ga_session_id,
    ga_session_number,
    session_started_at,
    session_ended_at,
    engagement_seconds,
    session_engaged,
    event_count,
    page_views,
    product_views,
    add_to_carts,
    begin_checkouts,
    key_events,
    first_visits,
    searches,
    max_scroll_percent,
    landing_page,
    exit_page,
    {{ row_field('entry', 'external_referrer') }} as entry_referrer,
    {{ row_field('entry', 'page_hostname') }} as entry_hostname,
    {{ row_field('event_tuple', 'event_source') }} as event_source,
    {{ row_field('event_tuple', 'event_medium') }} as event_medium,
    {{ row_field('event_tuple', 'event_campaign') }} as event_campaign,
    {{ row_field('event_tuple', 'page_hostname') }} as event_hostname,
    has_event_source,
    {{ row_field('last_click', 'last_click_source') }} as last_click_source,
    {{ row_field('last_click', 'last_click_medium') }} as last_click_medium,
    {{ row_field('last_click', 'last_click_campaign') }} as last_click_campaign,
    {{ row_field('last_click', 'last_click_channel_group') }} as last_click_channel_group,
    {{ row_field('last_click', 'page_hostname') }} as last_click_hostname,
    has_last_click,
    device_category,
    operating_system,
    browser,
    country
from measured
