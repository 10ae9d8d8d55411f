{{ config(materialized='view') }}

{{ hourly_kpis(is_whole=false) }}
