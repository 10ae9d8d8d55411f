{{ config(
    materialized='incremental',
    incremental_predicates=[is_touched_kpi_date()],
    on_schema_change='fail',
) }}

{%- set dimensions = ['device_category', 'default_channel_group'] -%}
{%- set stages = ['cart', 'checkout'] -%}

-- depends_on: {{ ref('int_touched_kpi_dates') }}
-- What has become of the carts and checkouts of an hour, by how many hours later: bought, or left without buying, which
-- is known a session timeout after the last event. Those of whom neither is known have no row.
with days as (
    select
        kpi_date,
        {{ property_midnight('kpi_date') }} as midnight
    from {{ ref('int_days') }}
    {% if is_incremental() %}
        where {{ is_touched_kpi_date() }}
    {% endif %}
),

begun as (
    {% for stage in stages %}
        select
            '{{ stage }}' as stage,
            sessions.session_id,
            sessions.session_date as kpi_date,
            sessions.session_ended_at,
            {% for dimension in dimensions %}
                sessions.{{ dimension }},
            {% endfor %}
            steps.{{ stage }}_at as begun_at
        from {{ ref('int_session_steps') }} as steps
        inner join {{ ref('int_session_facts') }} as sessions
            on steps.session_date = sessions.session_date and steps.session_id = sessions.session_id
        where
            steps.{{ stage }}_at is not null
            {% if is_incremental() %}
                and {{ is_touched_kpi_date('sessions.session_date') }}
            {% endif %}
        {{ 'union all' if not loop.last }}
    {% endfor %}
),

first_purchases as (
    select
        begun.stage,
        begun.session_id,
        min(purchases.purchased_at) as purchased_at
    from begun
    inner join {{ ref('fct_purchases') }} as purchases on begun.session_id = purchases.session_id
    where purchases.purchased_at >= begun.begun_at
    group by begun.stage, begun.session_id
),

ended as (
    select
        begun.*,
        days.midnight,
        purchases.purchased_at is not null as has_bought,
        coalesce(
            purchases.purchased_at,
            {{ add_seconds('greatest(begun.session_ended_at, begun.begun_at)', var('session_timeout_minutes') * 60) }}
        ) as ended_at
    from begun
    inner join days on begun.kpi_date = days.kpi_date
    left join first_purchases as purchases
        on begun.stage = purchases.stage and begun.session_id = purchases.session_id
),

placed as (
    select
        *,
        {{ hour_since('midnight', 'begun_at') }} as hour_started_at,
        {{ hour_since('midnight', 'ended_at') }} as hour_ended_at
    from ended
)

{% for dimension in ['all'] + dimensions %}
    {% set value = "'all'" if dimension == 'all' else dimension %}
    select
        stage,
        kpi_date,
        hour_started_at,
        '{{ dimension }}' as dimension,
        {{ value }} as dimension_value,
        cast({{ seconds_between('hour_started_at', 'hour_ended_at') }} / 3600 as bigint) as hours_later,
        {{ count_where('has_bought') }} as bought,
        {{ count_where('not has_bought') }} as not_bought
    from placed
    group by stage, kpi_date, hour_started_at, hour_ended_at{{ '' if dimension == 'all' else ', ' ~ dimension }}
    {{ 'union all' if not loop.last }}
{% endfor %}
