{{ config(tags=['scores']) }}

with assumptions as (
    select * from {{ ref('business_case_assumptions') }}
),

outcomes as (
    select * from {{ ref('int_scored_outcomes') }}
),

-- The traffic to scale to: the scored sessions of a day, over the last days that are complete.
newest as (
    select
        model,
        max(session_date) as last_date
    from outcomes
    group by model
),

traffic as (
    select
        outcomes.model,
        assumptions.target_share,
        cast(count(*) as double) / count(distinct outcomes.session_date) * max(assumptions.period_days)
            as period_sessions
    from outcomes
    inner join newest on outcomes.model = newest.model
    cross join assumptions
    where outcomes.session_date > {{ add_days('newest.last_date', '-assumptions.period_days') }}
    group by outcomes.model, assumptions.target_share
),

judged as (
    select
        *,
        row_number() over (partition by model order by score desc, session_id asc) as place,
        count(*) over (partition by model) as sessions
    from outcomes
    where is_out_of_sample
),

orders as (
    select
        model,
        max(version) as version,
        min(session_date) as judged_from,
        max(session_date) as judged_to,
        count(*) as sessions,
        {{ count_where('has_purchase') }} as conversions,
        {{ mean_money('case when has_purchase then revenue_usd end') }} as order_value_usd,
        {{ deviation_money('case when has_purchase then revenue_usd end') }} as order_value_deviation_usd
    from judged
    group by model
),

audiences as (
    select
        judged.model,
        assumptions.target_share,
        count(*) as audience,
        {{ count_where('judged.has_purchase') }} as audience_conversions
    from judged
    inner join assumptions on judged.place <= round(assumptions.target_share * judged.sessions)
    group by judged.model, assumptions.target_share
),

rates as (
    select
        orders.*,
        assumptions.relative_lift,
        assumptions.offer_cost_per_session_usd,
        assumptions.offer_cost_per_order_usd,
        assumptions.period_days,
        audiences.target_share,
        audiences.audience,
        audiences.audience_conversions,
        traffic.period_sessions,
        {{ safe_divide('audiences.audience_conversions', 'audiences.audience') }} as audience_rate,
        {{ safe_divide('orders.conversions', 'orders.sessions') }} as overall_rate,
        {{ wilson_bound('audiences.audience_conversions', 'audiences.audience', 'low') }} as audience_rate_low,
        {{ wilson_bound('audiences.audience_conversions', 'audiences.audience', 'high') }} as audience_rate_high
    from audiences
    inner join orders on audiences.model = orders.model
    inner join assumptions on audiences.target_share = assumptions.target_share
    inner join traffic on audiences.model = traffic.model and audiences.target_share = traffic.target_share
),

-- The error of a product, by the delta method on the log scale: squared relative errors of its factors add up.
errors as (
    select
        *,
        sqrt(
            (1 - audience_rate) / nullif(audience_conversions, 0)
            + coalesce(power(order_value_deviation_usd / nullif(order_value_usd, 0), 2), 0) / nullif(conversions, 0)
        ) as relative_error,
        {{ z_95() }} * coalesce(order_value_deviation_usd, 0) / sqrt(nullif(conversions, 0))
            as order_value_half_width_usd
    from rates
),

scaled as (
    select
        *,
        audience_conversions * relative_lift as extra_conversions,
        target_share * period_sessions as period_audience,
        target_share * period_sessions * audience_rate as period_conversions,
        target_share * period_sessions * audience_rate * relative_lift as period_extra_conversions,
        target_share * period_sessions * audience_rate * relative_lift * order_value_usd as period_revenue_usd,
        target_share * period_sessions * offer_cost_per_session_usd
        + target_share * period_sessions * audience_rate * (1 + relative_lift) * offer_cost_per_order_usd
            as period_cost_usd
    from errors
),

-- Nobody sees half a lift: what an experiment on this audience needs to see the assumed one.
planned as (
    select
        *,
        {{ sessions_per_arm('audience_rate', 'audience_rate * (1 + relative_lift)') }} as experiment_sessions_per_arm
    from scaled
)

select
    model,
    version,
    target_share,
    relative_lift,
    judged_from,
    judged_to,
    sessions,
    conversions,
    overall_rate as conversion_rate,
    audience,
    audience_conversions,
    audience_rate as audience_conversion_rate,
    audience_rate_low as audience_conversion_rate_low,
    audience_rate_high as audience_conversion_rate_high,
    {{ safe_divide('audience_rate', 'overall_rate') }} as lift_over_average,
    order_value_usd as avg_order_value_usd,
    order_value_usd - order_value_half_width_usd as avg_order_value_low_usd,
    order_value_usd + order_value_half_width_usd as avg_order_value_high_usd,
    round(extra_conversions, 6) as extra_conversions,
    round(audience_rate_low * audience * relative_lift, 6) as extra_conversions_low,
    round(audience_rate_high * audience * relative_lift, 6) as extra_conversions_high,
    round(extra_conversions * order_value_usd, 6) as extra_revenue_usd,
    cast(period_days as bigint) as period_days,
    round(period_sessions, 6) as period_sessions,
    round(period_audience, 6) as period_audience,
    round(period_conversions, 6) as period_conversions,
    round(period_extra_conversions, 6) as period_extra_conversions,
    round(audience_rate_low * period_audience * relative_lift, 6) as period_extra_conversions_low,
    round(audience_rate_high * period_audience * relative_lift, 6) as period_extra_conversions_high,
    round(period_revenue_usd, 6) as period_extra_revenue_usd,
    round(period_revenue_usd * exp(-{{ z_95() }} * relative_error), 6) as period_extra_revenue_low_usd,
    round(period_revenue_usd * exp({{ z_95() }} * relative_error), 6) as period_extra_revenue_high_usd,
    round(period_cost_usd, 6) as period_offer_cost_usd,
    round(period_revenue_usd - period_cost_usd, 6) as period_net_usd,
    cast(experiment_sessions_per_arm as bigint) as experiment_sessions_per_arm,
    round(2 * experiment_sessions_per_arm / nullif(period_audience / period_days, 0), 1) as experiment_days
from planned
