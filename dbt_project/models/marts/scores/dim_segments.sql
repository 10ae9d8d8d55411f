{{ config(tags=['scores']) }}

with assumptions as (
    select avg(relative_lift) as relative_lift
    from {{ ref('business_case_assumptions') }}
),

scored as (
    select
        scores.segment_id,
        scores.segment_name,
        scores.segments_version,
        sessions.*
    from {{ ref('fct_session_scores') }} as scores
    inner join {{ ref('int_session_facts') }} as sessions on scores.session_id = sessions.session_id
    where scores.segment_id is not null
),

profiles as (
    select
        segment_id,
        segment_name,
        max(segments_version) as segments_version,
        count(*) as sessions,
        {{ count_where('has_purchase') }} as sessions_with_purchase,
        {{ kpi_formula('conversion_rate') }} as conversion_rate,
        {{ wilson_bound(count_where('has_purchase'), 'count(*)', 'low') }} as conversion_rate_low,
        {{ wilson_bound(count_where('has_purchase'), 'count(*)', 'high') }} as conversion_rate_high,
        coalesce({{ sum_money('revenue_usd') }}, 0) as revenue_usd,
        {{ safe_divide(sum_money('revenue_usd'), 'count(*)') }} as revenue_per_session_usd,
        {{ z_95() }} * coalesce({{ deviation_money('revenue_usd') }}, 0) / sqrt(count(*)) as revenue_half_width_usd,
        {{ safe_divide(sum_money('revenue_usd'), count_where('has_purchase')) }} as avg_order_value_usd,
        {{ safe_divide(count_where("device_category = 'mobile'"), 'count(*)') }} as mobile_share,
        {{ safe_divide(count_where("device_category = 'desktop'"), 'count(*)') }} as desktop_share,
        {{ safe_divide(count_where("device_category = 'tablet'"), 'count(*)') }} as tablet_share,
        {{ safe_divide(count_where('is_new_user'), 'count(*)') }} as new_user_share,
        {{ safe_divide(count_where('has_add_to_cart'), 'count(*)') }} as cart_rate,
        {{ kpi_formula('cart_abandonment_rate') }} as cart_abandonment_rate
    from scored
    group by segment_id, segment_name
),

-- What the assumed lift of conversion would bring in each segment.
gains as (
    select
        profiles.*,
        profiles.revenue_usd * assumptions.relative_lift as incremental_revenue_usd
    from profiles
    cross join assumptions
),

ranked as (
    select
        *,
        row_number() over (order by incremental_revenue_usd desc, segment_id asc) as incremental_revenue_rank,
        {{ safe_divide('sessions', 'sum(sessions) over ()') }} as session_share,
        {{ safe_divide('incremental_revenue_usd', 'sum(incremental_revenue_usd) over ()') }}
            as incremental_revenue_share
    from gains
)

select
    cast(ranked.segment_id as bigint) as segment_id,
    ranked.segment_name,
    ranked.segments_version,
    ranked.sessions,
    ranked.session_share,
    ranked.sessions_with_purchase,
    ranked.conversion_rate,
    ranked.conversion_rate_low,
    ranked.conversion_rate_high,
    ranked.revenue_usd,
    ranked.revenue_per_session_usd,
    ranked.revenue_per_session_usd - ranked.revenue_half_width_usd as revenue_per_session_low_usd,
    ranked.revenue_per_session_usd + ranked.revenue_half_width_usd as revenue_per_session_high_usd,
    ranked.avg_order_value_usd,
    ranked.cart_rate,
    ranked.cart_abandonment_rate,
    ranked.mobile_share,
    ranked.desktop_share,
    ranked.tablet_share,
    ranked.new_user_share,
    ranked.incremental_revenue_usd,
    cast(ranked.incremental_revenue_rank as bigint) as incremental_revenue_rank,
    ranked.incremental_revenue_share,
    sum(ranked.incremental_revenue_share) over (order by ranked.incremental_revenue_rank)
        as cumulative_incremental_revenue_share,
    sum(ranked.session_share) over (order by ranked.incremental_revenue_rank) as cumulative_session_share,
    coalesce(actions.recommended_action, 'Look at its profile, and write its action into segment_actions.csv.')
        as recommended_action
from ranked
left join {{ ref('segment_actions') }} as actions on ranked.segment_name = actions.segment_name
