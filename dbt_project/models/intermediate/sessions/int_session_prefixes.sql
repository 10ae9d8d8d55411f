{{ config(
    materialized='incremental',
    incremental_predicates=[is_touched_session_date()],
) }}

-- depends_on: {{ ref('int_touched_session_dates') }}
with decision_points as (
    {% for point in decision_points() %}
        select
            '{{ point.name }}' as decision_point,
            cast({{ point.events or 'null' }} as bigint) as point_events,
            cast({{ point.seconds or 'null' }} as double) as point_seconds
        {{ 'union all' if not loop.last }}
    {% endfor %}
),

interactions as (
    select
        interactions.*,
        entries.entered_at,
        {{ seconds_between('entries.entered_at', 'interactions.event_at') }} as seconds_in,
        {{ seconds_between('entries.entered_at', 'entries.last_interaction_at') }} as session_seconds
    from {{ ref('int_session_interactions') }} as interactions
    inner join {{ ref('int_session_entries') }} as entries on interactions.session_id = entries.session_id
    {% if is_incremental() %}
        where
            {{ is_touched_session_date('interactions.session_date') }}
            and {{ is_touched_session_date('entries.session_date') }}
    {% endif %}
),

-- Up to a point: the first k events, or those of the first t seconds of a session that has an event later than that.
measured as (
    select
        interactions.session_id,
        interactions.session_date,
        interactions.entered_at,
        decision_points.decision_point,
        decision_points.point_events,
        decision_points.point_seconds,
        {{ count_where(
            "is_purchase_or_confirmation or event_name in ("
            ~ "'add_to_cart', 'begin_checkout', 'add_shipping_info', 'add_payment_info')"
        ) }} = 0 as is_at_risk,
        max(interactions.interaction_number) as last_interaction_number,
        {{ behaviour_measures('interactions.event_at', 'interactions.entered_at') }}
    from interactions
    inner join decision_points
        on
            interactions.interaction_number <= decision_points.point_events
            or (
                interactions.seconds_in <= decision_points.point_seconds
                and interactions.session_seconds > decision_points.point_seconds
            )
    group by
        interactions.session_id, interactions.session_date, interactions.entered_at,
        decision_points.decision_point, decision_points.point_events, decision_points.point_seconds
    -- reached: the k-th event has happened
    having decision_points.point_events is null or count(*) = decision_points.point_events
)

select
    measured.session_id,
    measured.session_date,
    measured.decision_point,
    measured.event_count as decision_events,
    coalesce(measured.point_seconds, measured.elapsed_seconds) as decision_seconds,
    {{ add_seconds('measured.entered_at', 'coalesce(measured.point_seconds, measured.elapsed_seconds)') }}
        as decision_at,
    measured.is_at_risk,
    {{ behaviour_columns('measured', with_score=false) }},
    coalesce(measured.point_seconds, measured.elapsed_seconds) - measured.elapsed_seconds as idle_seconds,
    lasts.event_name as last_event_name,
    lasts.page_section as last_page_section,
    lasts.gap_seconds as last_gap_seconds,
    {{ engagement_score() }} as engagement_score
from measured
inner join {{ ref('int_session_interactions') }} as lasts
    on
        measured.session_id = lasts.session_id
        and measured.last_interaction_number = lasts.interaction_number
{% if is_incremental() %}
    where {{ is_touched_session_date('lasts.session_date') }}
{% endif %}
