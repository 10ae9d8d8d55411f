{{ config(
    materialized='incremental',
    incremental_predicates=[is_touched_kpi_date()],
    on_schema_change='fail',
    pre_hook="{{ add_custom_columns(model) }}",
) }}

-- depends_on: {{ ref('int_touched_kpi_dates') }}
with sessions as (
    select
        session_date,
        {{ measured_kpis('daily') }}
    from {{ ref('fct_sessions') }}
    {% if is_incremental() %}
        where {{ is_touched_kpi_date('session_date') }}
    {% endif %}
    group by session_date
),

purchases as (
    select
        purchase_date,
        count(*) as purchases,
        {{ sum_money('revenue_usd') }} as revenue_usd,
        {{ sum_money('refund_usd') }} as refund_usd,
        {{ sum_money('net_revenue_usd') }} as net_revenue_usd,
        {{ count_where('is_first_order') }} as new_buyer_purchases,
        coalesce({{ sum_money('case when is_first_order then revenue_usd end') }}, 0) as new_buyer_revenue_usd,
        {{ count_where('not is_first_order') }} as returning_buyer_purchases,
        coalesce({{ sum_money('case when not is_first_order then revenue_usd end') }}, 0) as returning_buyer_revenue_usd
    from {{ ref('fct_purchases') }}
    {% if is_incremental() %}
        where {{ is_touched_kpi_date('purchase_date') }}
    {% endif %}
    group by purchase_date
)

select
    days.kpi_date,
    days.is_provisional,
    days.kind as table_kind,
    counts.staged_rows as events,
    counts.cookieless_rows as cookieless_events,
    {{ joined_kpis('daily', 'sessions') }},
    coalesce(purchases.purchases, 0) as purchases,
    coalesce(purchases.revenue_usd, 0) as revenue_usd,
    coalesce(purchases.refund_usd, 0) as refund_usd,
    coalesce(purchases.net_revenue_usd, 0) as net_revenue_usd,
    coalesce(purchases.new_buyer_purchases, 0) as new_buyer_purchases,
    coalesce(purchases.new_buyer_revenue_usd, 0) as new_buyer_revenue_usd,
    coalesce(purchases.returning_buyer_purchases, 0) as returning_buyer_purchases,
    coalesce(purchases.returning_buyer_revenue_usd, 0) as returning_buyer_revenue_usd,
    {{ safe_divide('purchases.revenue_usd', 'purchases.purchases') }} as avg_order_value_usd
from {{ ref('int_days') }} as days
inner join {{ ref('event_counts') }} as counts on days.kpi_date = counts.event_date
left join sessions on days.kpi_date = sessions.session_date
left join purchases on days.kpi_date = purchases.purchase_date
{% if is_incremental() %}
    where {{ is_touched_kpi_date('days.kpi_date') }}
{% endif %}
