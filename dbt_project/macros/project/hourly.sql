{#- What is counted in an hour, beside events and revenue. -#}
{% macro hourly_measures() -%}
    {{ return([
        'sessions', 'new_users', 'carts', 'carts_bought', 'checkouts', 'checkouts_bought', 'purchases',
        'new_buyer_purchases'
    ]) }}
{%- endmacro %}

{#- The hours of `int_kpis_hourly` with what is known of them: rates of the carts and checkouts that began in them, and how
    mature those are, the share of their purchases that has come by now as a rule (agg_completion_curve). `is_whole`
    gives every hour up to the newest event, also those in which nothing happened; else values have the hours in which
    something did. -#}
{% macro hourly_kpis(is_whole) -%}
{%- set measures = hourly_measures() -%}
with known as (
    -- the newest event, but none of the future: a visitor's clock may be ahead
    select least(
        {{ timestamp_from_micros('max(last_micros)') }},
        max((select as_of from {{ source('ops', 'build_info') }}))
    ) as known_until
    from {{ ref('int_session_spans') }}
),

added as (
    select
        hour_started_at,
        dimension,
        dimension_value,
        cast(sum(events) as bigint) as events,
        {% for measure in measures %}
            cast(sum({{ measure }}) as bigint) as {{ measure }},
        {% endfor %}
        {{ sum_money('revenue_usd') }} as revenue_usd,
        {{ sum_money('new_buyer_revenue_usd') }} as new_buyer_revenue_usd
    from {{ ref('int_kpis_hourly') }}
    where dimension {{ '=' if is_whole else '!=' }} 'all'
    group by hour_started_at, dimension, dimension_value
),

{% if is_whole %}
    calendar as (
        select
            series.hour_started_at
        from {{ ref('int_days') }} as days
        cross join {{ unnest_hours(property_midnight('days.kpi_date'), property_midnight('days.kpi_date + 1')) }}
            as series (hour_started_at)
        union distinct
        select hour_started_at from added
    ),

    hours as (
        select
            calendar.hour_started_at,
            coalesce(added.events, 0) as events,
            {% for measure in measures %}
                coalesce(added.{{ measure }}, 0) as {{ measure }},
            {% endfor %}
            coalesce(added.revenue_usd, 0) as revenue_usd,
            coalesce(added.new_buyer_revenue_usd, 0) as new_buyer_revenue_usd
        from calendar
        left join added on calendar.hour_started_at = added.hour_started_at
    ),
{% else %}
    hours as (
        select * from added
    ),
{% endif %}

aged as (
    select
        hours.*,
        known.known_until,
        -- of a cart that was filled in the middle of the hour
        {{ seconds_between('hours.hour_started_at', 'known.known_until') }} / 60 - 30 as age_minutes
    from hours
    cross join known
    where hours.hour_started_at <= known.known_until
),

ages as (
    select distinct
        hour_started_at,
        age_minutes
    from aged
),

matured as (
    select
        ages.hour_started_at,
        {% for stage in ['cart', 'checkout'] %}
            case
                when max(case when curve.stage = '{{ stage }}' then curve.minutes end) is not null
                    then coalesce(
                        max(case when curve.stage = '{{ stage }}' and curve.minutes <= ages.age_minutes
                            then curve.share end),
                        0
                    )
            end as {{ stage }}_maturity{{ ',' if not loop.last }}
        {% endfor %}
    from ages
    cross join {{ ref('agg_completion_curve') }} as curve
    group by ages.hour_started_at
)

select
    cast({{ in_property_zone('aged.hour_started_at') }} as date) as kpi_date,
    aged.hour_started_at,
    {{ hour_of(in_property_zone('aged.hour_started_at')) }} as hour_of_day,
    aged.age_minutes >= 30 as is_over,
    {% if not is_whole %}
        aged.dimension,
        aged.dimension_value,
    {% else %}
        aged.events,
    {% endif %}
    aged.sessions,
    aged.carts,
    aged.carts_bought,
    {{ safe_divide('aged.carts_bought', 'aged.carts') }} as cart_conversion_rate,
    matured.cart_maturity,
    aged.checkouts,
    aged.checkouts_bought,
    {{ safe_divide('aged.checkouts_bought', 'aged.checkouts') }} as checkout_conversion_rate,
    matured.checkout_maturity,
    aged.purchases,
    aged.revenue_usd,
    aged.new_users,
    aged.new_buyer_purchases,
    aged.new_buyer_revenue_usd,
    aged.purchases - aged.new_buyer_purchases as returning_buyer_purchases,
    round(aged.revenue_usd - aged.new_buyer_revenue_usd, 6) as returning_buyer_revenue_usd
from aged
left join matured on aged.hour_started_at = matured.hour_started_at
{%- endmacro %}
