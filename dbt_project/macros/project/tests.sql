{#- What must hold of columns, all in one test and its row rules in one scan: dbt takes longer to start a test than
    DuckDB to answer it. A row of the result names the first column with a fault and what is wrong with it. `unique`
    takes columns and lists of columns, `accepted` the values that a column may have, `refers_to` the model that has
    the column's values under the same name. Of an incremental model, or a view with `incremental_predicates`, only the
    rows that the build has rewritten are looked at, and whether their keys occur anywhere else. -#}
{% test columns_hold(model, unique=[], not_null=[], shares=[], at_least_zero=[], accepted={}, refers_to={}) %}
{%- set rewritten = rewritten_rows(model) -%}
{%- set rows = "(select * from " ~ model ~ " where " ~ rewritten ~ ") as rewritten_rows" -%}
{%- set rules = [] -%}
{%- for column in not_null -%}
    {%- do rules.append((column ~ " is null", column ~ " is null")) -%}
{%- endfor -%}
{%- for column in shares -%}
    {%- do rules.append((column ~ " < 0 or " ~ column ~ " > 1", column ~ " is not between 0 and 1")) -%}
{%- endfor -%}
{%- for column in at_least_zero -%}
    {%- do rules.append((column ~ " < 0", column ~ " is below 0")) -%}
{%- endfor -%}
{%- for column, values in accepted.items() -%}
    {%- do rules.append(
        (column ~ " not in ('" ~ values | join("', '") ~ "')", column ~ " is none of " ~ values | join(", "))
    ) -%}
{%- endfor -%}
{%- set problems = [] -%}
{%- if rules -%}
    {%- set cases = [] -%}
    {%- for broken, problem in rules -%}
        {%- do cases.append("when " ~ broken ~ " then '" ~ problem ~ "'") -%}
    {%- endfor -%}
    {%- do problems.append(
        "select case " ~ cases | join(' ') ~ " end as problem from " ~ rows
        ~ " where " ~ rules | map('first') | join(' or ')
    ) -%}
{%- endif -%}
{%- for key in unique -%}
    {%- set columns = ([key] if key is string else key) | join(', ') -%}
    {%- do problems.append(
        "select '" ~ columns ~ " repeats' as problem from " ~ model
        ~ (" inner join (select distinct " ~ columns ~ " from " ~ rows ~ ") as keys using (" ~ columns ~ ")"
            if rewritten != 'true' else "")
        ~ (" where " ~ key ~ " is not null" if key is string else "")
        ~ " group by " ~ columns ~ " having count(*) > 1"
    ) -%}
{%- endfor -%}
{%- for column, other in refers_to.items() -%}
    {%- do problems.append(
        "select '" ~ column ~ " is not in " ~ other.identifier ~ "' as problem from " ~ rows
        ~ " where " ~ column ~ " is not null and not exists (select 1 from " ~ other ~ " as other where other." ~ column
        ~ " = rewritten_rows." ~ column ~ ")"
    ) -%}
{%- endfor -%}
{{ problems | join(' union all ') }}
{% endtest %}

{#- Predicate: the row was rewritten by this build; all rows of a model that is built whole. -#}
{% macro rewritten_rows(relation) -%}
    {%- set found = namespace(predicates=[]) -%}
    {%- if execute and not is_full_build() -%}
        {%- for node in graph.nodes.values() if node.resource_type == 'model' and node.name == relation.identifier -%}
            {%- set found.predicates = node.config.get('incremental_predicates') or [] -%}
        {%- endfor -%}
    {%- endif -%}
    {{ return(found.predicates | join(' and ') or 'true') }}
{%- endmacro %}

{% test credits_add_up(model) %}
select purchase_id
from {{ model }}
group by purchase_id
having
    {% for credit in ['first_click', 'last_click', 'linear', 'position_based', 'time_decay'] %}
        coalesce(abs(sum({{ credit }}_credit) - 1) > 0.000000001, true){{ ' or' if not loop.last }}
    {% endfor %}
{% endtest %}
