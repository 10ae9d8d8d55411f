{{ config(materialized='view') }}

with orders as (
    select
        session_id,
        product_id,
        count(distinct purchase_id) as orders,
        cast(sum(quantity) as bigint) as quantity,
        {{ sum_money('revenue_usd') }} as revenue_usd
    from {{ ref('int_order_items') }}
    where session_id is not null
    group by session_id, product_id
)

select
    items.session_id,
    items.session_date,
    items.product_id,
    items.carts,
    items.cart_quantity,
    coalesce(orders.orders, 0) as orders,
    coalesce(orders.quantity, 0) as quantity,
    coalesce(orders.revenue_usd, 0) as revenue_usd,
    items.item_list_id,
    items.item_list_name,
    items.promotion_id,
    items.promotion_name,
    items.is_banner
from {{ ref('int_session_items') }} as items
left join orders on items.session_id = orders.session_id and items.product_id = orders.product_id
where items.wanted_number is not null
