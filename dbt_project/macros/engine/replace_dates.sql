{#- Incremental strategy `replace_dates`: rewrite whole date partitions.
    `incremental_predicates` say which partitions the build touches; the model itself must select exactly the rows of
    those partitions. A touched partition that has become empty disappears, which delete-by-key would miss.
    On Spark and BigQuery the same models use insert_overwrite by partition. -#}
{% macro get_incremental_replace_dates_sql(arg_dict) %}
    {%- set columns = get_quoted_csv(arg_dict['dest_columns'] | map(attribute='name')) -%}
    {%- if not arg_dict['incremental_predicates'] -%}
        {{ exceptions.raise_compiler_error("replace_dates needs incremental_predicates: the partitions to rewrite") }}
    {%- endif %}
    delete from {{ arg_dict['target_relation'] }}
    where {{ arg_dict['incremental_predicates'] | join(' and ') }};

    insert into {{ arg_dict['target_relation'] }} ({{ columns }})
    select {{ columns }} from {{ arg_dict['temp_relation'] }};
{% endmacro %}
