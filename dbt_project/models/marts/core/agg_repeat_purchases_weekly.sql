{% set periods = [30, 60, 90] %}

with known as (
    select
        max(kpi_date) as newest_date,
        min(case when is_provisional then kpi_date end) as first_provisional_date
    from {{ ref('int_days') }}
),

buyers as (
    select
        user_key,
        min(case when order_number = 1 then purchase_date end) as first_purchase_date,
        min(
            case when order_number = 2 then {{ seconds_between('previous_purchased_at', 'purchased_at') }} end
        ) / 86400 as days_to_second_purchase
    from {{ ref('int_user_purchases') }}
    where order_number <= 2
    group by user_key
),

periods as (
    {% for days in periods %}
        select cast({{ days }} as bigint) as within_days
        {{ 'union all' if not loop.last }}
    {% endfor %}
),

-- who bought a week ago has not had 30 days to come back
observed as (
    select
        buyers.days_to_second_purchase,
        periods.within_days,
        known.newest_date,
        known.first_provisional_date,
        {{ week_of('buyers.first_purchase_date') }} as cohort_week,
        {{ days_between('buyers.first_purchase_date', 'known.newest_date') }} >= periods.within_days as is_observed
    from buyers
    cross join periods
    cross join known
),

counted as (
    select
        cohort_week,
        within_days,
        {{ days_between('cohort_week', 'max(newest_date)') }} < 6 + within_days
        or coalesce({{ days_between('cohort_week', 'max(first_provisional_date)') }} <= 6 + within_days, false)
            as is_provisional,
        count(*) as first_time_buyers,
        {{ count_where('is_observed') }} as observed_buyers,
        {{ count_where('is_observed and days_to_second_purchase <= within_days') }} as repeat_buyers
    from observed
    group by cohort_week, within_days
)

select
    cohort_week,
    within_days,
    is_provisional,
    first_time_buyers,
    observed_buyers,
    repeat_buyers,
    {{ safe_divide('repeat_buyers', 'observed_buyers') }} as repeat_rate,
    {{ wilson_bound('repeat_buyers', 'observed_buyers', 'low') }} as repeat_rate_low,
    {{ wilson_bound('repeat_buyers', 'observed_buyers', 'high') }} as repeat_rate_high
from counted
