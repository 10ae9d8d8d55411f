{{ config(
    materialized='incremental',
    incremental_predicates=[is_touched_session_date()],
) }}

-- depends_on: {{ ref('int_touched_session_dates') }}
{% set kinds = [
    ('list', 'item_list', {'views': 'view_item_list', 'clicks': 'select_item'}),
    ('promotion', 'promotion', {'views': 'view_promotion', 'clicks': 'select_promotion'}),
] %}
{% for kind, columns, event_counts in kinds %}
    select
        counted.session_date,
        '{{ kind }}' as kind,
        items.{{ columns }}_id as list_id,
        items.{{ columns }}_name as list_name,
        cast(sum(counted.views) as bigint) as views,
        cast(sum(counted.clicks) as bigint) as clicks
    from {{ counted_items(event_counts) }} as counted
    inner join {{ ref('stg_ga4__items') }} as items
        on counted.event_date = items.event_date and counted.items_hash = items.items_hash
    where coalesce(items.{{ columns }}_id, items.{{ columns }}_name) is not null
    group by counted.session_date, items.{{ columns }}_id, items.{{ columns }}_name
    {{ 'union all' if not loop.last }}
{% endfor %}
