{{ config(materialized='view') }}

-- Behaviour by the date of the session, orders by their own, as in agg_kpis_daily.
{% set counts = [
    'list_views', 'list_clicks', 'views', 'wishlist_adds', 'carts', 'cart_quantity', 'removals', 'removed_quantity',
    'checkouts'
] %}
with behaviour as (
    select
        session_date as kpi_date,
        product_id,
        {% for name in counts %}
            cast(sum({{ name }}) as bigint) as {{ name }},
        {% endfor %}
        coalesce(item_variant, '(not set)') as item_variant
    from {{ ref('int_item_days') }}
    group by session_date, product_id, coalesce(item_variant, '(not set)')
),

orders as (
    select
        purchase_date as kpi_date,
        product_id,
        item_variant,
        count(*) as orders,
        cast(sum(quantity) as bigint) as quantity,
        {{ sum_money('revenue_usd') }} as revenue_usd,
        {{ count_where('refund_usd > 0') }} as refunded_orders,
        {{ sum_money('refund_usd') }} as refund_usd,
        {{ sum_money('revenue_usd - refund_usd') }} as net_revenue_usd
    from {{ ref('int_order_items') }}
    group by purchase_date, product_id, item_variant
),

daily as (
    select
        coalesce(behaviour.kpi_date, orders.kpi_date) as kpi_date,
        coalesce(behaviour.product_id, orders.product_id) as product_id,
        coalesce(behaviour.item_variant, orders.item_variant) as item_variant,
        {% for name in counts %}
            coalesce(behaviour.{{ name }}, 0) as {{ name }},
        {% endfor %}
        coalesce(orders.orders, 0) as orders,
        coalesce(orders.quantity, 0) as quantity,
        coalesce(orders.revenue_usd, 0) as revenue_usd,
        coalesce(orders.refunded_orders, 0) as refunded_orders,
        coalesce(orders.refund_usd, 0) as refund_usd,
        coalesce(orders.net_revenue_usd, 0) as net_revenue_usd
    from behaviour
    full outer join orders
        on
            behaviour.kpi_date = orders.kpi_date
            and behaviour.product_id = orders.product_id
            and behaviour.item_variant = orders.item_variant
)

select
    daily.kpi_date,
    daily.product_id,
    daily.item_variant,
    products.item_name,
    products.item_brand,
    products.item_category,
    products.item_category2,
    products.item_category3,
    products.item_category4,
    products.item_category5,
    {% for name in counts %}
        daily.{{ name }},
    {% endfor %}
    daily.orders,
    daily.quantity,
    daily.revenue_usd,
    daily.refunded_orders,
    daily.refund_usd,
    daily.net_revenue_usd
from daily
left join {{ ref('dim_products') }} as products on daily.product_id = products.product_id
