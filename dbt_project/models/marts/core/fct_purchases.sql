{{ config(
    materialized='incremental',
    incremental_predicates=[is_touched_user()],
    on_schema_change='fail',
) }}

-- depends_on: {{ ref('int_touched_users') }}
with orders as (
    select *
    from {{ ref('int_user_purchases') }}
    {% if is_incremental() %}
        where {{ is_touched_user() }}
    {% endif %}
),

touches as (
    select *
    from {{ ref('fct_attribution') }}
    {% if is_incremental() %}
        where {{ is_touched_user() }}
    {% endif %}
)

select
    purchases.purchase_id,
    purchases.transaction_id,
    purchases.session_id,
    purchases.user_pseudo_id,
    purchases.user_id,
    orders.user_key,
    orders.order_number,
    orders.order_number = 1 as is_first_order,
    {{ seconds_between('orders.previous_purchased_at', 'orders.purchased_at') }} / 86400 as days_since_previous_order,
    purchases.purchased_at,
    purchases.purchase_date,
    purchases.revenue_usd,
    purchases.refund_usd,
    purchases.net_revenue_usd,
    purchases.shipping_usd,
    purchases.tax_usd,
    purchases.currency,
    purchases.revenue_local,
    purchases.shipping_local,
    purchases.tax_local,
    purchases.item_quantity,
    purchases.unique_items,
    purchases.coupon,
    coalesce(purchases.payment_type, choices.payment_type) as payment_type,
    coalesce(purchases.shipping_tier, choices.shipping_tier) as shipping_tier,
    {% for place in ['first', 'last'] %}
        {{ place }}_touches.touched_at as {{ place }}_touched_at,
        {{ place }}_touches.source as {{ place }}_touch_source,
        {{ place }}_touches.medium as {{ place }}_touch_medium,
        {{ place }}_touches.campaign as {{ place }}_touch_campaign,
        {{ place }}_touches.default_channel_group as {{ place }}_touch_default_channel_group,
        {{ place }}_touches.custom_channel_group as {{ place }}_touch_custom_channel_group,
    {% endfor %}
    purchases.is_in_app
from orders
inner join {{ ref('int_purchases') }} as purchases on orders.purchase_id = purchases.purchase_id
left join {{ ref('int_checkout_choices') }} as choices
    on purchases.session_id = choices.session_id and purchases.purchase_id = choices.event_id
left join touches as first_touches
    on orders.purchase_id = first_touches.purchase_id and first_touches.touch_number = 1
left join touches as last_touches
    on orders.purchase_id = last_touches.purchase_id and last_touches.touch_number = last_touches.touches
