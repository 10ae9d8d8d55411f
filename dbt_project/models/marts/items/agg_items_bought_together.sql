{% set days = var('bought_together_days') %}
{% set products_of_an_order = var('bought_together_products') %}

-- An order of n products has n * (n - 1) / 2 pairs: only its first products are paired, so that no order has more than
-- a few hundred.
with orders as (
    select
        purchase_id,
        product_id,
        min(item_number) as item_number
    from {{ ref('int_order_items') }}
    where
        product_id != '(not set)'
        -- the newest day of the export and those before it, not the clock
        and purchase_date > (select {{ add_days('max(kpi_date)', '-' ~ days) }} from {{ ref('int_days') }})
    group by purchase_id, product_id
),

numbered as (
    select
        purchase_id,
        product_id,
        row_number() over (partition by purchase_id order by item_number, product_id) as product_number
    from orders
),

totals as (
    select count(distinct purchase_id) as all_orders
    from orders
),

singles as (
    select
        product_id,
        count(*) as orders
    from orders
    group by product_id
),

pairs as (
    select
        one.product_id,
        other.product_id as other_product_id,
        count(*) as orders_of_both
    from numbered as one
    inner join numbered as other on one.purchase_id = other.purchase_id
    where
        one.product_id != other.product_id
        and one.product_number <= {{ products_of_an_order }}
        and other.product_number <= {{ products_of_an_order }}
    group by one.product_id, other.product_id
    having count(*) >= 2
)

select
    pairs.product_id,
    pairs.other_product_id,
    products.item_name,
    others.item_name as other_item_name,
    pairs.orders_of_both,
    singles.orders,
    other_singles.orders as other_orders,
    totals.all_orders,
    {{ safe_divide('pairs.orders_of_both', 'totals.all_orders') }} as support,
    {{ safe_divide('pairs.orders_of_both', 'singles.orders') }} as confidence,
    {{ wilson_bound('pairs.orders_of_both', 'singles.orders', 'low') }} as confidence_low,
    {{ wilson_bound('pairs.orders_of_both', 'singles.orders', 'high') }} as confidence_high,
    cast(pairs.orders_of_both as double) * totals.all_orders / (singles.orders * other_singles.orders) as lift
from pairs
inner join singles on pairs.product_id = singles.product_id
inner join singles as other_singles on pairs.other_product_id = other_singles.product_id
cross join totals
left join {{ ref('dim_products') }} as products on pairs.product_id = products.product_id
left join {{ ref('dim_products') }} as others on pairs.other_product_id = others.product_id
