{#- SQL about lists of items whose spelling differs between engines. -#}

{#- Select targets that make a row of each item: `item` and `detail`, the same entry of two lists, and its `item_number`. -#}
{% macro unnested_items(items, details) -%}
    {{ return(adapter.dispatch('unnested_items', 'funnelhouse')(items, details)) }}
{%- endmacro %}

{% macro duckdb__unnested_items(items, details) -%}
    unnest({{ items }}) as item,
    unnest({{ details }}) as detail,
    generate_subscripts({{ items }}, 1) as item_number
{%- endmacro %}
