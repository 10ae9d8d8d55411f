{{ config(pre_hook="{{ remember_previous('ops.previous_purchases', this) }}") }}

with purchases as (
    select
        *,
        row_number() over (
            -- pages without a transaction id never collapse into one purchase
            partition by coalesce(transaction_id, event_id)
            order by {{ event_order() }}
        ) as occurrence_number
    from {{ ref('int_purchase_events') }}
    where event_name = 'purchase'
),

refunds as (
    select
        transaction_id,
        coalesce({{ sum_money('refund_value_usd') }}, 0) as refund_usd,
        {{ count_where('refund_value_usd is null') }} as full_refunds
    from {{ ref('int_purchase_events') }}
    where event_name = 'refund' and transaction_id is not null
    group by transaction_id
)

select
    purchases.event_id as purchase_id,
    purchases.transaction_id,
    purchases.session_id,
    purchases.user_pseudo_id,
    purchases.event_at as purchased_at,
    purchases.event_date as purchase_date,
    purchases.purchase_revenue_usd as revenue_usd,
    case
        when refunds.full_refunds > 0 then purchases.purchase_revenue_usd
        else coalesce(refunds.refund_usd, 0)
    end as refund_usd,
    purchases.purchase_revenue_usd - case
        when refunds.full_refunds > 0 then purchases.purchase_revenue_usd
        else coalesce(refunds.refund_usd, 0)
    end as net_revenue_usd,
    purchases.item_quantity
from purchases
left join refunds on purchases.transaction_id = refunds.transaction_id
where purchases.occurrence_number = 1
