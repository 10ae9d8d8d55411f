{{ config(
    materialized='incremental',
    incremental_predicates=[is_touched_kpi_date()],
    on_schema_change='fail',
    pre_hook="{{ add_custom_columns(model) }}",
) }}

-- depends_on: {{ ref('int_touched_kpi_dates') }}
{% set dimensions = [
    'device_category', 'default_channel_group', 'custom_channel_group', 'country', 'browser', 'landing_page',
    'visitor_type'
] %}
{% set kpis = measured_kpis('dimension') %}

with measured as (
    {% for dimension in dimensions %}
        {% set value = visitor_type() if dimension == 'visitor_type' else "coalesce(" ~ dimension ~ ", '(not set)')" %}
        select
            session_date as kpi_date,
            '{{ dimension }}' as dimension,
            {{ value }} as dimension_value,
            {{ kpis }}
        from {{ ref('fct_sessions') }}
        {% if is_incremental() %}
            where {{ is_touched_kpi_date('session_date') }}
        {% endif %}
        group by session_date, {{ value }}
        {{ 'union all' if not loop.last }}
    {% endfor %}
)

select
    days.is_provisional,
    measured.*
from measured
inner join {{ ref('int_days') }} as days on measured.kpi_date = days.kpi_date
