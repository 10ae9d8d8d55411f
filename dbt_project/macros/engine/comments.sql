{#- What the models' documentation says, as comments on the tables and columns that this run has created: one statement
    for all, since dbt takes longer over a statement than DuckDB. Rows written into a table leave its comments. -#}
{% macro comment_relations(results) -%}
    {{ return(adapter.dispatch('comment_relations', 'funnelhouse')(results)) }}
{%- endmacro %}

{% macro duckdb__comment_relations(results) -%}
    {%- set is_full = is_full_build() -%}
    {%- set rebuilt = rebuilt_tables() -%}
    {%- for result in results
        if result.status == 'success' and result.node.resource_type == 'model'
            and (is_full or result.node.config.materialized != 'incremental' or result.node.name in rebuilt) -%}
        {%- set node = result.node -%}
        {%- set kind = 'view' if node.config.materialized == 'view' else 'table' -%}
        {%- if node.description -%}
            comment on {{ kind }} {{ node.relation_name }} is {{ text_literal(node.description) }};
        {%- endif -%}
        {%- for column in node.columns.values() | list + custom_columns(node.name) if column.description -%}
            comment on column {{ node.relation_name }}.{{ adapter.quote(column.name) }} is {{ text_literal(column.description) }};
        {%- endfor -%}
    {%- endfor -%}
{%- endmacro %}

{% macro text_literal(value) -%}
    {{ return(adapter.dispatch('text_literal', 'funnelhouse')(value)) }}
{%- endmacro %}

{% macro duckdb__text_literal(value) -%}
    '{{ value | trim | replace("'", "''") }}'
{%- endmacro %}
