{{ config(
    materialized='incremental',
    incremental_predicates=[is_touched_session_date()],
) }}

-- depends_on: {{ ref('int_touched_session_dates') }}
-- One pass over a session's interactions, adding up. Its first k events end at interaction k, its first t seconds at
-- the last interaction within them, what came before the purchase at the last row before it. So each point is one of
-- the rows, and nothing is grouped or joined again.
with events as (
    select
        *,
        {{ page_section('page_path') }} as page_section,
        case when interaction_number > 1 then seconds_since_previous_event end as gap_seconds
    from {{ session_events() }} as events
    -- as many as a packed counter can hold; a session of more, which no visitor makes, is measured so far
    where interaction_number between 1 and 2097151
),

interactions as (
    select
        event_key,
        session_no,
        session_date,
        interaction_number,
        event_at,
        event_name,
        page_section,
        gap_seconds,
        {% for measure in measures_of_kind(['distinct', 'repeated', 'sum', 'mean', 'max']) %}
            {{ measured_value(measure) }} as {{ measure.name }}_value,
        {% endfor %}
        -- What the model may see ends before the first purchase event, also one that turns out to be a reloaded order
        -- page, or the first confirmation page, which may be measured a moment earlier.
        {{ regex_full_match("lower(coalesce(page_path, ''))", var('confirmation_page_pattern')) }}
        or event_name in ('purchase', 'in_app_purchase') as is_end
    from events
),

{% for measure in measures_of_kind(['distinct', 'repeated']) %}
    {{ measure.name }}_firsts as (
        select {{ earliest('event_key', 'interaction_number') }} as event_key
        from interactions
        where {{ measure.name }}_value is not null
        group by session_no, {{ measure.name }}_value
    ),
{% endfor %}

marked as (
    select
        {% for measure in measures_of_kind(['distinct', 'repeated']) %}
            event_key in (select event_key from {{ measure.name }}_firsts) as {{ measure.name }}_is_first,
        {% endfor %}
        *
    from interactions
),

accumulated as (
    select
        *,
        {% for counters in behaviour_counters() | batch(3) %}
            cast(sum({{ packed_counters(counters) }}) over up_to_here as bigint) as word_{{ loop.index }},
        {% endfor %}
        {% for measure in measures_of_kind(['sum', 'mean', 'max']) %}
            {{ measured_total(measure) }} over up_to_here as {{ measure.name }}_total,
        {% endfor %}
        min(event_at) over in_session as entered_at,
        min(case when is_end then event_at end) over in_session as ended_at,
        lead(event_at) over in_order as next_event_at
    from marked
    window
        in_session as (partition by session_no),
        in_order as (partition by session_no order by interaction_number),
        up_to_here as (
            partition by session_no order by interaction_number rows between unbounded preceding and current row
        )
),

at_points as (
    select
        *,
        {{ unnest_list(list_of_present(points_reached())) }} as decision_point
    from accumulated
),

counted as (
    select
        *,
        {% for counters in behaviour_counters() | batch(3) %}
            {% set word = 'word_' ~ loop.index %}
            {% for name, _ in counters %}
                {{ unpacked_counter(word, loop.index0) }} as {{ name }},
            {% endfor %}
        {% endfor %}
        {{ point_seconds() }} as point_seconds
    from at_points
),

measured as (
    select
        session_no,
        session_date,
        decision_point,
        entered_at,
        {% for measure in behaviour_measures() %}
            {{ measure_up_to_here(measure) }} as {{ measure.name }},
        {% endfor %}
        coalesce(point_seconds, {{ seconds_between('entered_at', 'event_at') }}) as decision_seconds,
        risk_ends = 0 as is_at_risk
    from counted
)

select
    *,
    {{ add_seconds('entered_at', 'decision_seconds') }} as decision_at,
    decision_seconds - elapsed_seconds as idle_seconds,
    {{ engagement_score() }} as engagement_score
from measured
