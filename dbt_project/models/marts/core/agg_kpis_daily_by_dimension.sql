{{ config(
    materialized='incremental',
    incremental_predicates=[is_touched_kpi_date()],
    on_schema_change='fail',
) }}

-- depends_on: {{ ref('int_touched_kpi_dates') }}
{% set dimensions = ['device_category', 'default_channel_group', 'country', 'browser', 'landing_page'] %}

with measured as (
    {% for dimension in dimensions %}
        select
            session_date as kpi_date,
            '{{ dimension }}' as dimension,
            coalesce({{ dimension }}, '(not set)') as dimension_value,
            cast(sum(purchases) as bigint) as purchases,
            {{ sum_money('revenue_usd') }} as revenue_usd,
            {{ session_kpis() }}
        from {{ ref('fct_sessions') }}
        {% if is_incremental() %}
            where {{ is_touched_kpi_date('session_date') }}
        {% endif %}
        group by session_date, coalesce({{ dimension }}, '(not set)')
        {{ 'union all' if not loop.last }}
    {% endfor %}
)

select
    measured.kpi_date,
    days.is_provisional,
    measured.dimension,
    measured.dimension_value,
    measured.sessions,
    measured.users,
    measured.engaged_sessions,
    measured.page_views,
    measured.sessions_with_add_to_cart,
    measured.sessions_with_begin_checkout,
    measured.sessions_with_purchase,
    measured.engagement_rate,
    measured.bounce_rate,
    measured.conversion_rate,
    measured.cart_abandonment_rate,
    measured.checkout_abandonment_rate,
    measured.avg_session_duration_seconds,
    measured.mean_log_duration_engaged,
    measured.avg_engagement_seconds,
    measured.purchases,
    measured.revenue_usd
from measured
inner join {{ ref('int_days') }} as days on measured.kpi_date = days.kpi_date
