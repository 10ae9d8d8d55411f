{% set days = var('completion_curve_days') %}
{% set minutes = [1, 2, 3, 5, 7, 10, 15, 20, 30, 45, 60, 90, 120, 180, 240, 360, 480, 720, 1440] %}

-- How soon after the cart, and after the checkout, those buy who do, on the newest complete days.
with days as (
    select kpi_date
    from {{ ref('int_days') }}
    where not is_provisional
    order by kpi_date desc
    limit {{ days }}
),

waits as (
    {% for stage in ['cart', 'checkout'] %}
        select
            '{{ stage }}' as stage,
            steps.session_date,
            min({{ seconds_between('steps.' ~ stage ~ '_at', 'purchases.purchased_at') }}) / 60 as waited_minutes
        from {{ ref('int_session_steps') }} as steps
        inner join days on steps.session_date = days.kpi_date
        inner join {{ ref('fct_purchases') }} as purchases on steps.session_id = purchases.session_id
        where purchases.purchased_at >= steps.{{ stage }}_at
        group by steps.session_id, steps.session_date
        {{ 'union all' if not loop.last }}
    {% endfor %}
),

grid as (
    {% for each in minutes %}
        select cast({{ each }} as bigint) as minutes
        {{ 'union all' if not loop.last }}
    {% endfor %}
),

counted as (
    select
        waits.stage,
        grid.minutes,
        {{ count_where('waits.waited_minutes <= grid.minutes') }} as purchases_by_then,
        count(*) as purchases,
        min(waits.session_date) as first_date,
        max(waits.session_date) as last_date
    from waits
    cross join grid
    group by waits.stage, grid.minutes
)

select
    stage,
    minutes,
    purchases_by_then,
    purchases,
    {{ safe_divide('purchases_by_then', 'purchases') }} as share,
    {{ wilson_bound('purchases_by_then', 'purchases', 'low') }} as share_low,
    {{ wilson_bound('purchases_by_then', 'purchases', 'high') }} as share_high,
    first_date,
    last_date
from counted
