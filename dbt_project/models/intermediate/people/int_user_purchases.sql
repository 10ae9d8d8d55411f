{{ config(
    materialized='incremental',
    incremental_predicates=[is_touched_user()],
    pre_hook="{{ remember_previous('ops.previous_user_purchases', this, is_touched_user()) }}",
) }}

-- depends_on: {{ ref('int_touched_users') }}
-- Whose purchase it is: that of the session's person, else of whom the device that a server named belongs to.
with owned as (
    select
        purchases.purchase_id,
        purchases.session_id,
        purchases.user_pseudo_id,
        sessions.user_key,
        purchases.purchased_at,
        purchases.purchase_date,
        purchases.revenue_usd,
        purchases.net_revenue_usd
    from {{ ref('int_purchases') }} as purchases
    inner join {{ ref('int_identified_sessions') }} as sessions on purchases.session_id = sessions.session_id
    {% if is_incremental() %}
        where {{ is_touched_user('sessions.user_key') }}
    {% endif %}
    union all
    select
        purchase_id,
        null as session_id,
        user_pseudo_id,
        user_key,
        purchased_at,
        purchase_date,
        revenue_usd,
        net_revenue_usd
    from {{ ref('int_sessionless_purchases') }}
    {% if is_incremental() %}
        where {{ is_touched_user() }}
    {% endif %}
)

select
    *,
    cast(row_number() over in_order as bigint) as order_number,
    lag(purchased_at) over in_order as previous_purchased_at
from owned
window in_order as (partition by user_key order by purchased_at, purchase_id)
