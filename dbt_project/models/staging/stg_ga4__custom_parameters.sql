{{ config(
    materialized='incremental',
    incremental_predicates=[is_touched_event_date()],
) }}

{% set columns = var('custom').event_columns %}
-- Only the events that have one of them: most have none.
with read_parameters as (
    select
        event_key,
        {{ date_from_yyyymmdd('event_date') }} as event_date
        {%- for column in columns -%}
            ,
            {{ of_its_events(column, column.source) }} as {{ adapter.quote(column.name) }}
        {%- endfor %}
    from {{ ref('base_ga4__events') }}
    where
        {{ quarantine_reason() }} is null
        {% if is_incremental() %}
            and lake_day in ({{ touched_lake_days() }})
        {% endif %}
)

select *
from read_parameters
where
    {% for column in columns %}
        {{ adapter.quote(column.name) }} is not null{{ ' or' if not loop.last }}
    {% else %}
        false
    {% endfor %}
