{#- What an item is, and the items of sessions. -#}

{#- A text of an item, null where GA4 writes nothing. -#}
{% macro item_text(value) -%}
    nullif(nullif({{ value }}, '(not set)'), '')
{%- endmacro %}

{#- What a product is known by: its id, else its name (GA4 asks for one of both); stg_ga4__items has it. -#}
{% macro product_id(prefix='') -%}
    coalesce({{ prefix }}item_id, {{ prefix }}item_name)
{%- endmacro %}

{#- What was paid for an item row, USD: as exported, else its price. -#}
{% macro item_revenue(prefix='') -%}
    greatest(coalesce({{ prefix }}item_revenue_usd, {{ prefix }}price_usd * {{ prefix }}quantity, 0), 0)
{%- endmacro %}

{#- The events of sessions that have items, of the names given: in an incremental build only those of the session dates
    to rewrite, whose keys are chosen before the join, as in `session_events`. -#}
{% macro session_item_events(event_names) -%}
    (
        select
            placed.session_id,
            placed.session_no,
            placed.session_date,
            placed.event_number,
            parsed.event_date,
            parsed.event_name,
            parsed.items_hash
        from {{ ref('stg_ga4__events_parsed') }} as parsed
        inner join
            {% if is_incremental() -%}
                {{ touched_event_order() }}
            {%- else -%}
                {{ ref('int_event_order') }}
            {%- endif %} as placed
            on parsed.event_key = placed.event_key
        where
            parsed.items_hash is not null
            and parsed.event_name in ({{ quoted(event_names) }})
    )
{%- endmacro %}

{#- How many events of a session date had the same items, in all and one column for each name that `event_counts` maps it
    to. Counted before the join with the items, since a list of products is shown to many in the same form. -#}
{% macro counted_items(event_counts) -%}
    (
        select
            session_date,
            event_date,
            items_hash,
            {% for column, event_name in event_counts.items() -%}
                {{ count_where("event_name = '" ~ event_name ~ "'") }} as {{ column }},
            {% endfor -%}
            count(*) as events
        from {{ session_item_events(event_counts.values() | list) }} as events
        group by session_date, event_date, items_hash
    )
{%- endmacro %}
