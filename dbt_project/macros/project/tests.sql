{#- What must hold of single columns, all in one test: dbt takes longer to start a test than DuckDB to answer it. A row
    of the result names the column and what is wrong with it. -#}
{% test columns_hold(model, unique=[], not_null=[], shares=[], at_least_zero=[]) %}
{%- set problems = [] -%}
{%- for column in not_null -%}
    {%- do problems.append("select '" ~ column ~ " is null' as problem from " ~ model ~ " where " ~ column ~ " is null") -%}
{%- endfor -%}
{%- for column in unique -%}
    {%- do problems.append(
        "select '" ~ column ~ " repeats' as problem from " ~ model ~ " where " ~ column ~ " is not null group by "
        ~ column ~ " having count(*) > 1"
    ) -%}
{%- endfor -%}
{%- for column in shares -%}
    {%- do problems.append(
        "select '" ~ column ~ " is not between 0 and 1' as problem from " ~ model ~ " where " ~ column
        ~ " < 0 or " ~ column ~ " > 1"
    ) -%}
{%- endfor -%}
{%- for column in at_least_zero -%}
    {%- do problems.append(
        "select '" ~ column ~ " is below 0' as problem from " ~ model ~ " where " ~ column ~ " < 0"
    ) -%}
{%- endfor -%}
{{ problems | join(' union all ') }}
{% endtest %}

{% test unique_combination(model, columns) %}
select {{ columns | join(', ') }}
from {{ model }}
group by {{ columns | join(', ') }}
having count(*) > 1
{% endtest %}

{% test credits_add_up(model) %}
select purchase_id
from {{ model }}
group by purchase_id
having
    {% for credit in ['first_click', 'last_click', 'linear', 'position_based', 'time_decay'] %}
        abs(sum({{ credit }}_credit) - 1) > 0.000000001{{ ' or' if not loop.last }}
    {% endfor %}
{% endtest %}
