{#- What the models' documentation says, as comments on the tables and columns of this run: one statement for all, since
    dbt takes longer over a statement than DuckDB. -#}
{% macro comment_relations(results) -%}
    {%- for result in results if result.status == 'success' and result.node.resource_type == 'model' -%}
        {%- set node = result.node -%}
        {%- set kind = 'view' if node.config.materialized == 'view' else 'table' -%}
        {%- if node.description -%}
            comment on {{ kind }} {{ node.relation_name }} is {{ text_literal(node.description) }};
        {%- endif -%}
        {%- for column in node.columns.values() if column.description -%}
            comment on column {{ node.relation_name }}.{{ adapter.quote(column.name) }} is {{ text_literal(column.description) }};
        {%- endfor -%}
    {%- endfor -%}
{%- endmacro %}

{% macro text_literal(value) -%}
    '{{ value | trim | replace("'", "''") }}'
{%- endmacro %}
