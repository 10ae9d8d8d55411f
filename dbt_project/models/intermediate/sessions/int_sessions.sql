{{ config(
    materialized='incremental',
    incremental_predicates=[is_touched_session_date()],
    pre_hook="{{ remember_previous('ops.previously_touched_starts', this, is_touched_session_date(), columns=['session_started_at', 'user_pseudo_id']) }}",
) }}

-- depends_on: {{ ref('int_touched_session_dates') }}
with events as (
    select
        *,
        -- session_start and first_visit may be missing, repeated or last: what a session starts with is read from the
        -- other events, and from those two only where there is nothing else (rule 4)
        case when interaction_number is null then 1000000000 else 0 end + event_number as entry_order,
        case when not is_background then event_at end as visited_at,
        case when not is_background then page_path end as visited_page,
        case when event_name = 'add_to_cart' then page_path end as cart_path,
        case when event_name = 'begin_checkout' then page_path end as checkout_path
    from {{ session_events() }} as events
),

measured as (
    select
        session_no,
        session_date,
        -- id, device and stream are the same in all events of a session: one of them will do
        {{ max_where('session_id', 'event_number = 1') }} as session_id,
        {{ max_where('user_pseudo_id', 'event_number = 1') }} as user_pseudo_id,
        {{ earliest_where('user_id', '-event_number', 'user_id is not null') }} as user_id,
        {{ max_where('stream_id', 'event_number = 1') }} as stream_id,
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
        {{ count_where("event_name = 'add_shipping_info'") }} as add_shipping_infos,
        {{ count_where("event_name = 'add_payment_info'") }} as add_payment_infos,
        {{ count_where("event_name in ('purchase', 'in_app_purchase')") }} as key_events,
        {{ count_where("event_name = 'first_visit'") }} as first_visits,
        {{ count_where("event_name = 'view_search_results'") }} as searches,
        coalesce(max(percent_scrolled), 0) as max_scroll_percent,
        {{ earliest_where(row_of(['visited_page', 'page_location']), 'entry_order', 'visited_page is not null') }}
            as landing,
        {{ earliest_where('visited_page', '-event_number', 'visited_page is not null') }} as exit_page,
        -- what may break by itself, for those who look for a cause
        {{ max_where('browser_version', 'event_number = 1') }} as browser_version,
        {{ earliest_where('release', 'event_number', 'release is not null') }} as release,
        {{ earliest_where(
            'payment_type', '-event_number', "payment_type is not null and event_name = 'add_payment_info'"
        ) }} as payment_type,
        {{ earliest_where('cart_path', 'event_number', 'cart_path is not null') }} as cart_page,
        {{ earliest_where('checkout_path', 'event_number', 'checkout_path is not null') }} as checkout_page,
        {{ first_sources(campaign_details()) }},
        {{ first_device(device_details()) }},
        {{ earliest_where('language', 'entry_order', 'language is not null') }} as language,
        {{ consent_moments('event_at', 'is_background') }}
    from events
    group by session_no, session_date
)

select
    session_id,
    session_no,
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
    add_shipping_infos,
    add_payment_infos,
    key_events,
    first_visits,
    searches,
    max_scroll_percent,
    {{ row_field('landing', 'visited_page') }} as landing_page,
    {{ regex_extract(row_field('landing', 'page_location'), '^[^?#]*[?]([^#]*)') }} as landing_page_query,
    exit_page,
    {{ first_source_columns(campaign_details()) }},
    {{ first_device_columns(device_details()) }},
    {{ regex_extract('browser_version', '^([0-9]+)') }} as browser_version,
    language,
    release,
    payment_type,
    cart_page,
    checkout_page,
    analytics_granted_at,
    analytics_denied_at,
    ads_granted_at,
    ads_denied_at
from measured
