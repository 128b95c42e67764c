/** @nestjs/swagger: the OpenAPI document. */
import { Controller, Get, Param } from '@nestjs/common';
import {
  ApiOperation,
  ApiProperty,
  ApiQuery,
  ApiResponse,
  DocumentBuilder,
  SwaggerModule,
} from '@nestjs/swagger';
import { get, request } from './http-calls.js';
import type { Combinations } from './stage.js';

class Item {
  @ApiProperty({ example: 'tea' })
  name!: string;
}

export const swagger: Combinations = {
  '@ApiOperation, @ApiQuery': async (stage) => {
    const { above, below } = stage.lock();
    @Controller('items')
    class Items {
      @Get(':id')
      @above
      @ApiOperation({ summary: 'Finds an item', deprecated: true })
      @ApiQuery({ name: 'size', enum: ['s', 'xl'], required: false })
      @ApiResponse({ status: 200, type: Item })
      @below
      async run(@Param('id') id: string): Promise<Item> {
        stage.enter();
        return { name: id };
      }
    }
    const app = await stage.start({ controllers: [Items] });
    return {
      ...(await request(app, get('items/tea'))),
      method: [Items, 'run'],
      registration: SwaggerModule.createDocument(
        app,
        new DocumentBuilder().build(),
      ),
    };
  },
};
