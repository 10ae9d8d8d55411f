{{ config(materialized='view') }}

with left_behind as (
    select
        items.session_date,
        items.product_id,
        items.cart_quantity - items.removed_quantity as quantity,
        items.cart_price_usd
    from {{ ref('int_session_items') }} as items
    inner join {{ ref('int_session_facts') }} as sessions on items.session_id = sessions.session_id
    where
        sessions.is_cart_abandoned
        and items.carts > 0
        and items.cart_quantity > items.removed_quantity
)

select
    left_behind.session_date,
    left_behind.product_id,
    products.item_name,
    products.item_brand,
    products.item_category,
    count(*) as sessions,
    cast(sum(left_behind.quantity) as bigint) as quantity,
    coalesce({{ sum_money('left_behind.quantity * left_behind.cart_price_usd') }}, 0) as value_usd,
    {{ count_where('left_behind.cart_price_usd is null') }} as sessions_without_price
from left_behind
left join {{ ref('dim_products') }} as products on left_behind.product_id = products.product_id
group by
    left_behind.session_date, left_behind.product_id, products.item_name, products.item_brand, products.item_category
