{#- How views and tables come into a build file. The file is a private copy that is thrown away when a model fails, and nobody
    reads it before it is published: neither a table nor an increment needs the detour over a second table, its
    renames and its drops, which dbt-duckdb takes to keep readers of the target undisturbed. Other engines keep what
    their adapters bring. -#}

{% materialization view, adapter='duckdb' %}
    {%- set target_relation = this.incorporate(type='view') -%}
    {{ run_hooks(pre_hooks) }}
    {%- if config.get('contract').enforced %}
        {{ get_assert_columns_equivalent(compiled_code) }}
    {%- endif %}
    {% call statement('main') -%}
        create or replace view {{ target_relation }} as {{ compiled_code }}
    {%- endcall %}
    {% do adapter.commit() %}
    {{ return({'relations': [target_relation]}) }}
{% endmaterialization %}

{% materialization table, adapter='duckdb' %}
    {%- set target_relation = this.incorporate(type='table') -%}
    {{ run_hooks(pre_hooks) }}
    {% call statement('main') -%}
        {%- if load_cached_relation(this) is not none %}
            drop table {{ target_relation }};
        {%- endif %}
        {{ create_table_as(false, target_relation, compiled_code) }}
    {%- endcall %}
    {% do adapter.commit() %}
    {{ return({'relations': [target_relation]}) }}
{% endmaterialization %}

{#- Rewrites the dates, devices or people that a build touches: `incremental_predicates` say which rows these are, and the
    model itself must select exactly those. What has none left disappears, which a delete by key would miss. A changed
    project is built anew from an empty file, so that the columns are always those of the model. -#}
{% materialization incremental, adapter='duckdb' %}
    {%- set target_relation = this.incorporate(type='table') -%}
    {%- set predicates = config.get('incremental_predicates') -%}
    {%- if not predicates -%}
        {{ exceptions.raise_compiler_error("an incremental model needs incremental_predicates: the rows to rewrite") }}
    {%- endif %}
    {{ run_hooks(pre_hooks) }}
    {% call statement('main') -%}
        {%- if is_incremental() %}
            delete from {{ target_relation }} where {{ predicates | join(' and ') }};
            insert into {{ target_relation }} by name {{ compiled_code }}
        {%- else %}
            {{ create_table_as(false, target_relation, compiled_code) }}
        {%- endif %}
    {%- endcall %}
    {% do adapter.commit() %}
    {{ return({'relations': [target_relation]}) }}
{% endmaterialization %}
