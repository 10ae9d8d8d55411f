{{ config(pre_hook="{{ remember_previous('ops.previous_purchases', this) }}") }}

with ranked as (
    select
        *,
        row_number() over (
            -- pages without a transaction id never collapse into one purchase
            partition by coalesce(order_namespace || '|' || transaction_id, event_id)
            order by {{ event_order() }}
        ) as occurrence_number
    from {{ ref('int_purchase_events') }}
    where event_name != 'refund'
),

purchases as (
    select * from ranked
    where occurrence_number = 1
),

refund_events as (
    select
        event_id,
        order_namespace,
        transaction_id,
        refund_value_usd,
        items,
        refund_value_usd is null and {{ list_length('items') }} > 0 as is_by_item
    from {{ ref('int_purchase_events') }}
    where event_name = 'refund' and transaction_id is not null
),

-- What the items of an order cost, for refunds that name items and no value.
order_items as (
    select
        purchases.order_namespace,
        purchases.transaction_id,
        ordered.item.item_id,
        max(coalesce(ordered.item.price_usd, ordered.item.item_revenue_usd / nullif(ordered.item.quantity, 0)))
            as price_usd
    from purchases
    cross join {{ unnest_list('purchases.items') }} as ordered (item)
    where purchases.transaction_id is not null
    group by purchases.order_namespace, purchases.transaction_id, ordered.item.item_id
),

item_refunds as (
    select
        refund_events.event_id,
        {{ sum_money(
            'coalesce(abs(returned.item.item_refund_usd), '
            ~ 'coalesce(returned.item.price_usd, order_items.price_usd) * returned.item.quantity, 0)'
        ) }} as refund_usd
    from refund_events
    cross join {{ unnest_list('refund_events.items') }} as returned (item)
    left join order_items
        on
            refund_events.order_namespace = order_items.order_namespace
            and refund_events.transaction_id = order_items.transaction_id
            and returned.item.item_id = order_items.item_id
    where refund_events.is_by_item
    group by refund_events.event_id
),

refunds as (
    select
        refund_events.order_namespace,
        refund_events.transaction_id,
        coalesce({{ sum_money('coalesce(refund_events.refund_value_usd, item_refunds.refund_usd)') }}, 0) as refund_usd,
        -- neither an amount nor items: GA4 means all of it
        {{ any_true("refund_events.refund_value_usd is null and not refund_events.is_by_item") }} as is_full
    from refund_events
    left join item_refunds on refund_events.event_id = item_refunds.event_id
    group by refund_events.order_namespace, refund_events.transaction_id
),

refunded as (
    select
        purchases.*,
        -- never more than was paid
        case
            when refunds.is_full then purchases.purchase_revenue_usd
            else least(coalesce(refunds.refund_usd, 0), purchases.purchase_revenue_usd)
        end as refund_usd
    from purchases
    left join refunds
        on
            purchases.order_namespace = refunds.order_namespace
            and purchases.transaction_id = refunds.transaction_id
)

select
    event_id as purchase_id,
    transaction_id,
    session_id,
    user_pseudo_id,
    user_id,
    event_at as purchased_at,
    event_date as purchase_date,
    purchase_revenue_usd as revenue_usd,
    refund_usd,
    purchase_revenue_usd - refund_usd as net_revenue_usd,
    item_quantity,
    {{ distinct_of_field('items', 'item_id') }} as unique_items,
    event_name = 'in_app_purchase' as is_in_app,
    currency,
    revenue_local,
    shipping_usd,
    shipping_local,
    tax_usd,
    tax_local,
    coupon,
    payment_type,
    shipping_tier
from refunded
