{#- JSON text whose spelling differs between engines. -#}

{#- One row for each entry of a JSON object of texts: `from t {{ cross_join_json_entries('t.column', 'e') }}`, then
    json_entry_key('e') and json_entry_value('e'). -#}
{% macro cross_join_json_entries(value, alias) -%}
    {{ return(adapter.dispatch('cross_join_json_entries', 'funnelhouse')(value, alias)) }}
{%- endmacro %}

{% macro duckdb__cross_join_json_entries(value, alias) -%}
    cross join unnest(map_entries(cast(cast({{ value }} as json) as map(varchar, varchar)))) as {{ alias }} (entry)
{%- endmacro %}

{% macro json_entry_key(alias) -%}
    {{ return(adapter.dispatch('json_entry_key', 'funnelhouse')(alias)) }}
{%- endmacro %}

{% macro duckdb__json_entry_key(alias) -%}
    {{ alias }}.entry.key
{%- endmacro %}

{% macro json_entry_value(alias) -%}
    {{ return(adapter.dispatch('json_entry_value', 'funnelhouse')(alias)) }}
{%- endmacro %}

{% macro duckdb__json_entry_value(alias) -%}
    {{ alias }}.entry.value
{%- endmacro %}

{#- One row for each text of a JSON list: `from t {{ cross_join_json_texts('t.column', 'e') }}`, then `e.entry`. -#}
{% macro cross_join_json_texts(value, alias) -%}
    {{ return(adapter.dispatch('cross_join_json_texts', 'funnelhouse')(value, alias)) }}
{%- endmacro %}

{% macro duckdb__cross_join_json_texts(value, alias) -%}
    cross join unnest(cast(cast({{ value }} as json) as varchar[])) as {{ alias }} (entry)
{%- endmacro %}
