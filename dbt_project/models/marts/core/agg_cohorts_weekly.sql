{% set dimensions = ['all', 'first_default_channel_group'] %}

with days as (
    select
        kpi_date,
        is_provisional,
        {{ week_of('kpi_date') }} as activity_week,
        max(kpi_date) over () as newest_date
    from {{ ref('int_days') }}
),

weeks as (
    select
        activity_week,
        count(*) as observed_days,
        {{ any_true('is_provisional') }}
        or {{ days_between('activity_week', 'max(newest_date)') }} < 6 as is_provisional
    from days
    group by activity_week
),

counted as (
    {% for dimension in dimensions %}
        select
            cohort_week,
            activity_week,
            '{{ dimension }}' as dimension,
            {{ "'all'" if dimension == 'all' else dimension }} as dimension_value,
            {{ count_where('activity_week = cohort_week') }} as cohort_users,
            {{ count_where('activity_week = cohort_week and not has_earlier_sessions') }} as cohort_new_users,
            {{ count_where('is_active') }} as active_users,
            {{ count_where('purchases > 0') }} as buyers,
            cast(sum(purchases) as bigint) as purchases,
            {{ sum_money('revenue_usd') }} as revenue_usd,
            {{ sum_money('net_revenue_usd') }} as net_revenue_usd
        from {{ ref('int_user_weeks') }}
        group by cohort_week, activity_week{{ '' if dimension == 'all' else ', ' ~ dimension }}
        {{ 'union all' if not loop.last }}
    {% endfor %}
),

-- a week in which nobody of a cohort came back is one, too
observed as (
    select
        cohorts.cohort_week,
        cohorts.dimension,
        cohorts.dimension_value,
        weeks.activity_week,
        weeks.observed_days,
        weeks.is_provisional,
        cohorts.cohort_users,
        cohorts.cohort_new_users,
        coalesce(counted.active_users, 0) as active_users,
        coalesce(counted.buyers, 0) as buyers,
        coalesce(counted.purchases, 0) as purchases,
        coalesce(counted.revenue_usd, 0) as revenue_usd,
        coalesce(counted.net_revenue_usd, 0) as net_revenue_usd
    from counted as cohorts
    inner join weeks on cohorts.cohort_week <= weeks.activity_week
    left join counted
        on
            cohorts.cohort_week = counted.cohort_week
            and cohorts.dimension = counted.dimension
            and cohorts.dimension_value = counted.dimension_value
            and weeks.activity_week = counted.activity_week
    where cohorts.activity_week = cohorts.cohort_week
)

select
    cohort_week,
    dimension,
    dimension_value,
    cast({{ days_between('cohort_week', 'activity_week') }} / 7 as bigint) as weeks_since,
    activity_week,
    observed_days,
    is_provisional,
    cohort_users,
    cohort_new_users,
    active_users,
    {{ safe_divide('active_users', 'cohort_users') }} as retention_rate,
    {{ wilson_bound('active_users', 'cohort_users', 'low') }} as retention_rate_low,
    {{ wilson_bound('active_users', 'cohort_users', 'high') }} as retention_rate_high,
    buyers,
    {{ safe_divide('buyers', 'cohort_users') }} as buyer_rate,
    {{ wilson_bound('buyers', 'cohort_users', 'low') }} as buyer_rate_low,
    {{ wilson_bound('buyers', 'cohort_users', 'high') }} as buyer_rate_high,
    purchases,
    revenue_usd,
    net_revenue_usd
from observed
