{{ config(pre_hook="{{ remember_previous('ops.previous_sessionless_purchases', this) }}") }}

-- Orders that a server has sent while the visitor was away: they belong to a person, and to no session.
select
    purchases.purchase_id,
    purchases.user_pseudo_id,
    purchases.purchased_at,
    purchases.purchase_date,
    purchases.revenue_usd,
    purchases.net_revenue_usd,
    {{ user_key('coalesce(purchases.user_id, devices.user_id)', 'purchases.user_pseudo_id') }} as user_key
from {{ ref('int_purchases') }} as purchases
left join {{ ref('int_device_users') }} as devices on purchases.user_pseudo_id = devices.user_pseudo_id
where purchases.session_id is null
