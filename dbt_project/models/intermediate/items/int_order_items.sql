-- What was bought, by the orders that count: one purchase per transaction. It is small, and a refund can come at any
-- time: it is made whole each time.
with orders as (
    select
        purchases.purchase_id,
        purchases.purchase_date,
        purchases.session_id,
        purchases.revenue_usd as order_revenue_usd,
        purchases.refund_usd as order_refund_usd,
        events.event_date,
        events.items_hash,
        events.order_namespace,
        events.transaction_id
    from {{ ref('fct_purchases') }} as purchases
    inner join {{ ref('int_purchase_events') }} as events on purchases.purchase_id = events.event_id
),

order_lines as (
    select
        orders.purchase_id,
        orders.purchase_date,
        orders.session_id,
        orders.order_revenue_usd,
        orders.order_refund_usd,
        orders.order_namespace,
        orders.transaction_id,
        coalesce(items.product_id, '(not set)') as product_id,
        coalesce(items.item_variant, '(not set)') as item_variant,
        min(items.item_number) as item_number,
        {% for field in ['item_name', 'item_brand', 'item_category', 'item_category2', 'item_category3',
            'item_category4', 'item_category5'] -%}
            max(items.{{ field }}) as {{ field }},
        {% endfor -%}
        max(coalesce(items.price_usd, items.item_revenue_usd / nullif(items.quantity, 0))) as price_usd,
        cast(sum(items.quantity) as bigint) as quantity,
        {{ sum_money(item_revenue('items.')) }} as revenue_usd
    from orders
    inner join {{ ref('stg_ga4__items') }} as items
        on orders.event_date = items.event_date and orders.items_hash = items.items_hash
    group by
        orders.purchase_id, orders.purchase_date, orders.session_id, orders.order_revenue_usd,
        orders.order_refund_usd, orders.order_namespace, orders.transaction_id,
        coalesce(items.product_id, '(not set)'), coalesce(items.item_variant, '(not set)')
),

order_products as (
    select
        purchase_id,
        order_namespace,
        transaction_id,
        product_id,
        max(price_usd) as price_usd,
        {{ sum_money('revenue_usd') }} as revenue_usd
    from order_lines
    group by purchase_id, order_namespace, transaction_id, product_id
),

-- What refunds name of a product: its refund value, else its price, else that in the order (rule 24).
named_products as (
    select
        products.purchase_id,
        products.product_id,
        products.revenue_usd,
        {{ sum_money(
            'coalesce(abs(returned.item.item_refund_usd), '
            ~ 'coalesce(returned.item.price_usd, products.price_usd) * returned.item.quantity, 0)'
        ) }} as named_usd
    from {{ ref('int_purchase_events') }} as refunds
    cross join {{ unnest_list('refunds.items') }} as returned (item)
    inner join order_products as products
        on
            refunds.order_namespace = products.order_namespace
            and refunds.transaction_id = products.transaction_id
            and coalesce({{ product_id('returned.item.') }}, '(not set)') = products.product_id
    where refunds.event_name = 'refund'
    group by products.purchase_id, products.product_id, products.revenue_usd
),

named_orders as (
    select
        purchase_id,
        {{ sum_money('named_usd') }} as named_usd
    from named_products
    group by purchase_id
    having sum(named_usd) > 0
),

refunded as (
    select
        order_lines.*,
        -- how much of the line's revenue was paid back
        case
            when order_lines.order_refund_usd <= 0 then 0
            when order_lines.order_refund_usd >= order_lines.order_revenue_usd then 1
            when named_orders.purchase_id is null
                then {{ safe_divide('order_lines.order_refund_usd', 'order_lines.order_revenue_usd') }}
            else least(
                coalesce({{ safe_divide('named_products.named_usd', 'named_products.revenue_usd') }}, 0)
                -- what the refunds name never adds up to more than they paid
                * least({{ safe_divide('order_lines.order_refund_usd', 'named_orders.named_usd') }}, 1),
                1
            )
        end as refunded_share
    from order_lines
    left join named_orders on order_lines.purchase_id = named_orders.purchase_id
    left join named_products
        on
            order_lines.purchase_id = named_products.purchase_id
            and order_lines.product_id = named_products.product_id
)

select
    purchase_id,
    purchase_date,
    session_id,
    product_id,
    item_variant,
    item_number,
    item_name,
    item_brand,
    item_category,
    item_category2,
    item_category3,
    item_category4,
    item_category5,
    quantity,
    revenue_usd,
    round(revenue_usd * refunded_share, 6) as refund_usd
from refunded
