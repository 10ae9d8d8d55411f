{{ config(
    materialized='incremental',
    incremental_predicates=[is_touched_session_date()],
) }}

-- depends_on: {{ ref('int_touched_session_dates') }}
select
    session_id,
    session_date,
    min(case when event_name = 'add_to_cart' then event_at end) as cart_at,
    min(case when event_name = 'begin_checkout' then event_at end) as checkout_at
from {{ session_events() }} as events
where
    event_name in ('add_to_cart', 'begin_checkout')
    and interaction_number is not null
group by session_id, session_date
