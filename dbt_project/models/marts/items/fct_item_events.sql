{{ config(materialized='view') }}

select
    {{ event_id('events.event_date', 'events.event_hash') }} as event_id,
    items.item_number,
    placed.session_id,
    placed.session_date,
    events.event_date,
    events.event_at,
    events.event_name,
    placed.event_number,
    events.user_pseudo_id,
    events.transaction_id,
    purchases.purchase_id,
    items.product_id,
    items.item_id,
    items.item_name,
    items.item_brand,
    items.item_variant,
    items.item_category,
    items.item_category2,
    items.item_category3,
    items.item_category4,
    items.item_category5,
    items.price_usd,
    items.price_local,
    items.quantity,
    items.item_revenue_usd,
    items.item_revenue_local,
    items.item_refund_usd,
    items.item_refund_local,
    items.coupon,
    items.affiliation,
    items.location_id,
    items.item_list_id,
    items.item_list_name,
    items.item_list_index,
    items.promotion_id,
    items.promotion_name,
    items.creative_name,
    items.creative_slot,
    items.item_params
from {{ ref('stg_ga4__events') }} as events
inner join {{ ref('stg_ga4__items') }} as items
    on events.event_date = items.event_date and events.items_hash = items.items_hash
left join {{ ref('int_event_order') }} as placed on events.event_key = placed.event_key
left join {{ ref('int_purchase_events') }} as orders
    on events.event_date = orders.event_date and events.event_hash = orders.event_hash
left join {{ ref('fct_purchases') }} as purchases on orders.event_id = purchases.purchase_id
-- an order or a refund that a server sent counts without a session; anything else without one does not
where placed.event_key is not null or orders.event_id is not null
