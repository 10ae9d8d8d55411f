-- Which purchase events were taken for a reload of an earlier one, and how far from it they came.
with purchases as (
    select
        *,
        first_value({{ row_of(['session_id', 'user_pseudo_id', 'stream_id']) }}) over in_order as earliest,
        row_number() over in_order as occurrence_number
    from {{ ref('int_purchase_events') }}
    where event_name != 'refund' and transaction_id is not null
    window in_order as (partition by order_namespace, transaction_id order by {{ event_order() }})
),

repeats as (
    select
        *,
        case
            when session_id = {{ row_field('earliest', 'session_id') }} then 'the same session'
            when user_pseudo_id = {{ row_field('earliest', 'user_pseudo_id') }} then 'another session of the device'
            when stream_id = {{ row_field('earliest', 'stream_id') }} then 'another device'
            else 'another web stream'
        end as folded_across
    from purchases
    where occurrence_number > 1
)

select
    folded_across,
    count(*) as events,
    count(distinct order_namespace || '|' || transaction_id) as transactions,
    {{ sum_money('purchase_revenue_usd') }} as revenue_usd
from repeats
group by folded_across
