{{ config(
    materialized='incremental',
    incremental_predicates=[is_touched_session_date()],
) }}

-- depends_on: {{ ref('int_touched_session_dates') }}
-- How the buyer wanted to pay and to be delivered: what was said last before the order, which may say so itself.
with events as (
    select
        session_id,
        session_no,
        session_date,
        event_id,
        event_number,
        event_name,
        payment_type,
        shipping_tier
    from {{ session_events() }} as events
    where event_name in ('add_payment_info', 'add_shipping_info', 'purchase')
),

known as (
    select
        session_id,
        session_date,
        event_id,
        event_name,
        coalesce(payment_type, {{ latest_before(
            "case when event_name = 'add_payment_info' then payment_type end", 'session_no', 'event_number'
        ) }}) as payment_type,
        coalesce(shipping_tier, {{ latest_before(
            "case when event_name = 'add_shipping_info' then shipping_tier end", 'session_no', 'event_number'
        ) }}) as shipping_tier
    from events
)

select
    session_id,
    session_date,
    event_id,
    payment_type,
    shipping_tier
from known
where event_name = 'purchase' and coalesce(payment_type, shipping_tier) is not null
