{{ config(materialized='view') }}

-- What is known when a session starts: its context, and the device's sessions that started strictly before it.
select
    session_id,
    user_pseudo_id,
    session_date,
    session_started_at,
    has_purchase,
    device_category,
    operating_system,
    browser,
    country,
    session_default_channel_group as default_channel_group,
    is_new_user,
    day_of_week >= 6 as is_weekend,
    hour_of_day,
    day_of_week,
    device_session_number as session_number,
    device_session_number - 1 as previous_sessions,
    cast(coalesce(sum(purchases) over earlier, 0) as bigint) as previous_purchases,
    cast(coalesce(sum(case when has_add_to_cart then 1 else 0 end) over earlier, 0) as bigint)
        as previous_cart_sessions,
    {{ seconds_between(
        'lag(session_started_at) over (partition by user_pseudo_id order by device_session_number)', 'session_started_at'
    ) }} / 86400 as days_since_previous_session
from {{ ref('fct_sessions') }}
window earlier as (
    partition by user_pseudo_id order by device_session_number rows between unbounded preceding and 1 preceding
)
