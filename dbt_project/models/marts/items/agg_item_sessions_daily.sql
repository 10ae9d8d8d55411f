{{ config(materialized='view') }}

with orders as (
    select distinct
        session_id,
        product_id
    from {{ ref('int_order_items') }}
    where session_id is not null
)

select
    items.session_date,
    items.product_id,
    {{ count_where('items.views > 0') }} as sessions_with_view,
    {{ count_where('items.carts > 0') }} as sessions_with_cart,
    {{ count_where('orders.session_id is not null') }} as sessions_with_order,
    {{ count_where('items.views > 0 and items.carts > 0') }} as sessions_with_view_and_cart,
    {{ count_where('items.carts > 0 and orders.session_id is not null') }} as sessions_with_cart_and_order,
    {{ count_where('items.views > 0 and orders.session_id is not null') }} as sessions_with_view_and_order
from {{ ref('int_session_items') }} as items
left join orders on items.session_id = orders.session_id and items.product_id = orders.product_id
group by items.session_date, items.product_id
