{{ config(
    materialized='incremental',
    incremental_predicates=[is_touched_event_date()],
) }}

{% set columns = var('custom').event_columns | selectattr('misfit') | list %}
{% if columns %}
    with counted as (
        select
            {{ date_from_yyyymmdd('event_date') }} as event_date
            {%- for column in columns -%}
                ,
                count({{ of_its_events(column, column.misfit) }}) as rows_{{ loop.index }},
                max({{ of_its_events(column, column.misfit) }}) as example_{{ loop.index }}
            {%- endfor %}
        from {{ ref('base_ga4__events') }}
        where
            {{ quarantine_reason() }} is null
            {% if is_incremental() %}
                and lake_day in ({{ touched_lake_days() }})
            {% endif %}
        group by event_date
    )

    {% for column in columns %}
        select
            event_date,
            {{ text_literal(column.name) }} as column_name,
            {{ text_literal(column.ga4_name) }} as ga4_name,
            {{ text_literal(column.type) }} as wanted_type,
            rows_{{ loop.index }} as misfit_rows,
            example_{{ loop.index }} as example
        from counted
        where rows_{{ loop.index }} > 0
        {{ 'union all' if not loop.last }}
    {% endfor %}
{% else %}
    select
        event_date,
        cast(null as string) as column_name,
        cast(null as string) as ga4_name,
        cast(null as string) as wanted_type,
        cast(null as bigint) as misfit_rows,
        cast(null as string) as example
    from ops.touched_dates
    where false
{% endif %}
